"""From a head in a real repository to a tree on disk that survives everything."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from membership.ledger import Target
from reconciler.edge import revisions
from reconciler.edge.revisions import Origin, RevisionStore, UnreadableTree, read_tree
from reconciler.edge.source import Fill, SubversionSource
from reconciler.edge.subversion import Subversion
from reconciler.edge.subversion_wire import Access
from reconciler.messages import (
    Authorship,
    FetchFailed,
    Head,
    SourceFailed,
    SourceSeen,
    Staged,
    TreeLoaded,
)
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


# --- what was agreed by peers ---------------------------------------------------------------------


def target_of(loaded: TreeLoaded) -> Target:
    head = loaded.head
    return Target(
        repository=head.repository,
        revision=head.revision,
        digest=loaded.digest,
        path=head.path,
    )


def filled(files: dict[str, bytes]) -> Fill:
    """What a peer that has these files would do."""

    async def fetch(into: Path) -> None:
        for name, content in files.items():
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return fetch


def kept_below(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "revisions").iterdir())


async def test_what_was_fetched_before_is_staged_without_subversion(
    repository: Repository, source: SubversionSource
) -> None:
    repository.committed("the tree", sample())
    loaded = await fetched(source)
    shutil.rmtree(repository.path)
    staged = await source.stage(target_of(loaded), 0, 10)
    assert staged == Staged(target=target_of(loaded), tree=replace(loaded, messages=()))


async def test_an_older_revision_is_staged_from_subversion_as_it_was(
    repository: Repository, source: SubversionSource, tmp_path: Path
) -> None:
    repository.committed("the tree", sample())
    target = target_of(await fetched(source))
    repository.committed("later", {"lyon/vms/web1.yaml": b"kind: Nonsense\n"})
    fresh = source_of(f"{repository.url}/lyon", tmp_path / "other")
    staged = await fresh.stage(target, 0, 10)
    await fresh.close()
    assert staged.tree is not None
    assert (staged.tree.digest, staged.tree.head.revision) == (target.digest, 1)
    assert staged.tree.errors == ()
    assert staged.tree.authors["vm/web1"].summary == "the tree"
    folder = fresh.folder(1, target.digest)
    assert folder is not None
    assert (folder / "vms/web1.yaml").read_bytes() == (SAMPLE / "vms/web1.yaml").read_bytes()


async def test_another_tree_under_the_agreed_number_is_not_taken(
    repository: Repository, source: SubversionSource
) -> None:
    """A repository that was restored from a backup counts on from there."""
    repository.committed("the tree", sample())
    target = replace(target_of(await fetched(source)), digest="0" * 64)
    staged = await source.stage(target, 0, 10)
    assert (staged.target, staged.tree) == (target, None)
    assert "but 000000000000 was agreed" in staged.message


async def test_what_cannot_be_staged_says_why(mute: MuteServer, tmp_path: Path) -> None:
    source = source_of(mute.url, tmp_path / "state")
    target = Target(repository="r", revision=3, digest="ab")
    staged = await source.stage(target, 0, 0.5)
    await source.close()
    assert staged.tree is None
    assert "0.5 s" in staged.message
    assert kept_below(tmp_path / "state") == []


@pytest.mark.parametrize("damage", ["changed", "lost", "origin"])
async def test_a_damaged_tree_is_replaced_by_the_one_in_subversion(
    repository: Repository, source: SubversionSource, tmp_path: Path, damage: str
) -> None:
    revision = repository.committed("the tree", sample())
    loaded = await fetched(source)
    folder = source.folder(revision, loaded.digest)
    assert folder is not None
    if damage == "changed":
        (folder / "vms/web1.yaml").write_text("x")
    elif damage == "lost":
        (folder / "cluster.yaml").unlink()
    else:
        folder.with_name(folder.name + ".json").write_text("{")
    staged = await source.stage(target_of(loaded), 0, 10)
    assert staged.tree is not None
    assert staged.tree.digest == loaded.digest
    source.keep(revision, loaded.digest)
    kept = source.load_kept()
    assert kept is not None
    assert kept.digest == loaded.digest
    assert kept_below(tmp_path / "state") == [folder.name, folder.name + ".json"]


async def test_a_tree_received_from_a_peer_is_kept_like_any_other(
    repository: Repository, source: SubversionSource, tmp_path: Path
) -> None:
    repository.committed("the tree", sample())
    loaded = await fetched(source)
    folder = source.folder(1, loaded.digest)
    assert folder is not None
    far = source_of("file:///gone", tmp_path / "far")
    staged = await far.receive(target_of(loaded), filled(read_tree(folder)))
    assert staged.tree is not None
    assert staged.tree.desired == loaded.desired
    assert staged.tree.head.author is None
    far.keep(1, loaded.digest)
    kept = far.load_kept()
    assert kept is not None
    assert kept.digest == loaded.digest
    assert await far.stage(target_of(loaded), 0, 10) == staged


async def test_what_a_peer_sends_is_held_against_what_was_agreed(tmp_path: Path) -> None:
    source = source_of("file:///gone", tmp_path / "state")
    target = Target(repository="r", revision=3, digest="ab" * 32)
    staged = await source.receive(target, filled({"cluster.yaml": b"kind: Cluster\n"}))
    assert staged.tree is None
    assert "but abababababab was agreed" in staged.message
    assert source.folder(3, target.digest) is None
    assert kept_below(tmp_path / "state") == []


async def test_a_peer_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    source = source_of("file:///gone", tmp_path / "state")
    target = Target(repository="r", revision=3, digest="ab")

    async def broken(into: Path) -> None:
        await filled({"cluster.yaml": b"kind"})(into)
        raise ConnectionError("xen2: reset")

    async def nothing(_into: Path) -> None:
        return

    assert (await source.receive(target, broken)).message == "xen2: reset"
    assert (await source.receive(target, nothing)).tree is None
    assert kept_below(tmp_path / "state") == []


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
        "sync revisions",
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


def test_a_tree_that_comes_again_counts_as_new(tmp_path: Path) -> None:
    """It was asked for again: it must not be the first to be forgotten."""
    store = RevisionStore(tmp_path)
    digests = {revision: admitted(store, revision) for revision in range(1, 11)}
    for revision, digest in digests.items():
        os.utime(tmp_path / "revisions" / f"{revision}-{digest}", (revision, revision))
    admitted(store, 1)
    admitted(store, 11)
    assert store.folder(1, digests[1]) is not None
    assert store.folder(2, digests[2]) is None


def test_two_that_bring_the_same_tree_at_once(tmp_path: Path) -> None:
    """A look at Subversion and the tree that peers agreed on may be about one revision."""
    store = RevisionStore(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda revision: admitted(store, revision % 12), range(96)))
    assert len(set(found)) == 12
    names = {path.name for path in (tmp_path / "revisions").iterdir()}
    assert len(names) == 2 * revisions.KEPT
