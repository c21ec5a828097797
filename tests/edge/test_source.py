"""From a head in a real repository to a tree on disk that survives everything."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.edge import revisions
from reconciler.edge.revisions import Origin, RevisionStore, UnreadableTree, read_tree
from reconciler.edge.source import SubversionSource
from reconciler.edge.subversion import Subversion
from reconciler.edge.subversion_wire import Access
from reconciler.messages import Authorship, FetchFailed, Head, SourceFailed, SourceSeen, TreeLoaded
from schema import tree
from tests.edge.repositories import MuteServer, Repository

SAMPLE = Path(__file__).parents[2] / "cluster-config"


def sample() -> dict[str, str | bytes]:
    paths = sorted(SAMPLE.rglob("*.yaml"))
    return {f"lyon/{path.relative_to(SAMPLE)}": path.read_bytes() for path in paths}


def source_of(url: str, state: Path) -> SubversionSource:
    state.mkdir(exist_ok=True)
    access = Access(config_dir=str(state / "subversion"))
    return SubversionSource(Subversion(lambda: access), RevisionStore(state), url)


@pytest.fixture
async def source(repository: Repository, tmp_path: Path) -> AsyncIterator[SubversionSource]:
    made = source_of(f"{repository.url}/lyon", tmp_path / "state")
    yield made
    await made.close()


async def head_of(source: SubversionSource) -> Head:
    seen = await source.look(10)
    assert isinstance(seen, SourceSeen)
    return seen.head


async def fetched(source: SubversionSource) -> TreeLoaded:
    loaded = await source.fetch(await head_of(source), 0, 10)
    assert isinstance(loaded, TreeLoaded)
    return loaded


async def test_a_tree_is_fetched_validated_and_kept(
    repository: Repository, source: SubversionSource, tmp_path: Path
) -> None:
    revision = repository.committed("the tree", sample())
    loaded = await fetched(source)
    assert loaded.errors == ()
    assert loaded.desired is not None
    assert "web1" in loaded.desired.vms
    source.keep(revision, loaded.digest)
    target = tmp_path / "state/target"
    assert str(target.readlink()) == f"revisions/{revision}-{loaded.digest}"
    assert (target / "vms/web1.yaml").read_bytes() == (SAMPLE / "vms/web1.yaml").read_bytes()
    assert source_of("file:///gone", tmp_path / "state").load_kept() == replace(loaded, messages=())
    assert loaded.messages == ("the tree",)


async def test_authors_of_each_object(repository: Repository, source: SubversionSource) -> None:
    repository.committed("the tree", sample())
    web1 = sample()["lyon/vms/web1.yaml"]
    assert isinstance(web1, bytes)
    repository.committed("web1 described\n\nlong", {"lyon/vms/web1.yaml": web1 + b"# more\n"})
    authors = (await fetched(source)).authors
    assert authors["vm/web1"].revision == 2
    assert authors["vm/web1"].summary == "web1 described"
    assert authors["node/xen1"].revision == 1
    assert authors["cluster"].summary == "the tree"


async def test_an_invalid_tree_is_told_with_all_its_errors(
    repository: Repository, source: SubversionSource
) -> None:
    repository.committed(
        "bad", {"lyon/cluster.yaml": "apiVersion: cxm/v1\nkind: Cluster\nmoed: auto\n"}
    )
    loaded = await fetched(source)
    assert loaded.desired is None
    assert len(loaded.errors) > 1
    assert not loaded.needs_upgrade


async def test_a_tree_for_a_newer_cxm_needs_an_upgrade(
    repository: Repository, source: SubversionSource
) -> None:
    files = sample()
    files["lyon/vms/x.yaml"] = "apiVersion: cxm/v1\nkind: Teleporter\nname: x\n"
    repository.committed("future", files)
    loaded = await fetched(source)
    assert loaded.desired is None
    assert loaded.needs_upgrade


async def test_a_mute_server_fails_the_look(mute: MuteServer, tmp_path: Path) -> None:
    source = source_of(mute.url, tmp_path / "state")
    seen = await source.look(0.5)
    assert seen == SourceFailed(
        reason="unreachable", message="Subversion gave no answer within 0.5 s"
    )


async def test_a_fetch_that_fails_names_its_head(
    repository: Repository, source: SubversionSource, tmp_path: Path
) -> None:
    repository.committed("the tree", sample())
    head = await head_of(source)
    shutil.rmtree(repository.path)
    failed = await source.fetch(head, 0, 10)
    assert isinstance(failed, FetchFailed)
    assert (failed.head, failed.reason) == (head, "missing")
    assert list((tmp_path / "state/revisions").iterdir()) == []


async def test_the_loop_lives_while_a_large_tree_is_read(
    repository: Repository, source: SubversionSource
) -> None:
    files = sample()
    web1 = files["lyon/vms/mail1.yaml"]
    assert isinstance(web1, bytes)
    for number in range(400):
        fresh = web1.replace(b"name: mail1", b"name: m%03d" % number)
        files[f"lyon/vms/m{number:03}.yaml"] = fresh
    repository.committed("large", files)
    head = await head_of(source)
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    watching = asyncio.create_task(watch())
    await source.fetch(head, 0, 30)
    watching.cancel()
    # Read on the loop, the tree would leave it no turn but those while Subversion works.
    assert turns > 10


async def test_changed_files_on_disk_are_not_taken_for_the_revision(
    repository: Repository, source: SubversionSource, tmp_path: Path
) -> None:
    revision = repository.committed("the tree", sample())
    loaded = await fetched(source)
    source.keep(revision, loaded.digest)
    (tmp_path / "state/target/vms/web1.yaml").unlink()
    with pytest.raises(UnreadableTree, match="changed after they were fetched"):
        source.load_kept()


async def test_a_lost_tree_is_unreadable_and_not_empty(
    repository: Repository, source: SubversionSource, tmp_path: Path
) -> None:
    revision = repository.committed("the tree", sample())
    source.keep(revision, (await fetched(source)).digest)
    shutil.rmtree((tmp_path / "state/target").resolve())
    with pytest.raises(UnreadableTree):
        source.load_kept()


async def test_the_same_revision_fetched_again_is_the_same_tree(
    repository: Repository, source: SubversionSource, tmp_path: Path
) -> None:
    repository.committed("the tree", sample())
    first, second = await fetched(source), await fetched(source)
    assert first == second
    assert len(list((tmp_path / "state/revisions").glob("*.json"))) == 1


# --- the store ------------------------------------------------------------------------------------


def admitted(store: RevisionStore, revision: int) -> str:
    into = store.incoming()
    into.mkdir()
    (into / "cluster.yaml").write_text(f"# {revision}\n")
    digest = tree.digest(read_tree(into))
    head = Head(repository="r", path="p", revision=revision, author=None, message="")
    author = Authorship(revision=revision, author=None, summary="")
    store.admit(into, digest, Origin(head=head, authors={"cluster.yaml": author}))
    return digest


def test_nothing_is_kept_at_first(tmp_path: Path) -> None:
    assert RevisionStore(tmp_path).kept() is None


def test_the_last_ten_and_the_target_stay(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path)
    digests: dict[int, str] = {}
    for revision in range(1, 16):
        digests[revision] = admitted(store, revision)
        path = tmp_path / "revisions" / f"{revision}-{digests[revision]}"
        os.utime(path, (revision, revision))
        if revision == 2:
            store.keep(2, digests[2])
    names = {path.name for path in (tmp_path / "revisions").iterdir()}
    left = [2, *range(6, 16)]
    assert names == {f"{n}-{digests[n]}{end}" for n in left for end in ("", ".json")}


def test_a_tree_appears_only_when_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is given after every file, folder and the origin were synced."""
    done: list[str] = []
    rename = Path.rename

    def fsync(file: int) -> None:
        done.append("sync " + Path(f"/proc/self/fd/{file}").readlink().name)

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    store = RevisionStore(tmp_path)
    digest = admitted(store, 1)
    assert done == [
        f"sync 1-{digest}.json.new",
        "sync cluster.yaml",
        "sync tree",
        "rename tree",
        "sync revisions",
    ]


def test_what_a_crash_left_half_fetched_goes(tmp_path: Path) -> None:
    (RevisionStore(tmp_path).incoming()).mkdir()
    RevisionStore(tmp_path)
    assert list((tmp_path / "revisions").iterdir()) == []


def test_a_swap_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    store = RevisionStore(tmp_path)
    digest = admitted(store, 1)
    (tmp_path / "target.new").symlink_to("revisions/0-half")
    store.keep(1, digest)
    kept = store.kept()
    assert kept is not None
    assert kept[1] == digest
    assert not (tmp_path / "target.new").is_symlink()


def test_links_are_read_as_subversion_stores_them(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("/etc/hostname")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert read_tree(tmp_path) == {
        "a.yaml": b"link /etc/hostname",
        "loop": b"link " + os.fsencode(tmp_path),
    }


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UnreadableTree, match=r"pipe\.yaml: neither a file nor a folder"):
        read_tree(tmp_path)


def test_a_monstrous_tree_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "LARGEST_TREE", 1 << 20)
    (tmp_path / "image.iso").write_bytes(b"\0" * (1 << 20))
    (tmp_path / "more").write_bytes(b"\0")
    with pytest.raises(UnreadableTree, match="more than 1 MiB in all"):
        read_tree(tmp_path)
