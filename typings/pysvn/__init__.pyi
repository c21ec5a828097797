"""The part of Debian's pysvn 1.9 that cxm calls. The module itself carries no type information."""

from collections.abc import Callable
from typing import Any

version: tuple[int, ...]
svn_version: tuple[int, int, int, str]

class ClientError(Exception): ...

class opt_revision_kind:
    head: opt_revision_kind
    number: opt_revision_kind

class node_kind:
    dir: node_kind
    file: node_kind

class Revision:
    number: int
    def __init__(self, kind: opt_revision_kind, number: int = ...) -> None: ...

class Client:
    exception_style: int
    callback_get_login: Callable[[str, str, bool], tuple[bool, str, str, bool]]
    callback_ssl_server_trust_prompt: Callable[[dict[str, Any]], tuple[bool, int, bool]]
    def __init__(self, config_dir: str = ...) -> None: ...
    def set_interactive(self, enable: bool) -> None: ...
    def set_auth_cache(self, enable: bool) -> None: ...
    def info2(
        self, url_or_path: str, *, revision: Revision, recurse: bool
    ) -> list[tuple[str, Any]]: ...
    def log(
        self,
        url_or_path: str,
        *,
        revision_start: Revision,
        revision_end: Revision,
        peg_revision: Revision,
        strict_node_history: bool = ...,
        limit: int = ...,
    ) -> list[Any]: ...
    def list(
        self, url_or_path: str, *, revision: Revision, peg_revision: Revision, recurse: bool
    ) -> list[tuple[Any, ...]]: ...
    def export(
        self,
        src_url_or_path: str,
        dest_path: str,
        *,
        revision: Revision,
        peg_revision: Revision,
        native_eol: str,
        ignore_externals: bool,
        ignore_keywords: bool,
    ) -> Revision: ...
