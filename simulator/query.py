"""The little language of get_all_records_where: ``field "x" = "y"``, and, or, not, brackets."""

import re
from collections.abc import Callable

from simulator.database import Row
from simulator.values import ApiError

Condition = Callable[[Row], bool]

_TOKEN = re.compile(r'\s*(?:(\()|(\))|(=)|(?:"((?:[^"\\]|\\.)*)")|(\w+))')
_PARSE_ERROR = "Xapi_database.Db_filter_parse.MenhirBasics.Error"


def parse(text: str) -> Condition:
    """The condition that the text means; INVALID_VALUE with the server's words if it means none."""
    reader = _Reader(text)
    condition = reader.any_of()
    reader.end()
    return condition


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                raise self._error()
            position = match.end()
            quoted = match[4]
            token = ("text", quoted) if quoted is not None else ("word", match[0].strip())
            self._tokens.append(token)

    def any_of(self) -> Condition:
        options = [self._all_of()]
        while self._accept("or"):
            options.append(self._all_of())
        return lambda row: any(option(row) for option in options)

    def end(self) -> None:
        if self._tokens:
            raise self._error()

    def _all_of(self) -> Condition:
        parts = [self._single()]
        while self._accept("and"):
            parts.append(self._single())
        return lambda row: all(part(row) for part in parts)

    def _single(self) -> Condition:
        if self._accept("not"):
            inner = self._single()
            return lambda row: not inner(row)
        if self._accept("("):
            condition = self.any_of()
            if not self._accept(")"):
                raise self._error()
            return condition
        return self._comparison()

    def _comparison(self) -> Condition:
        if self._accept("true"):
            return lambda _row: True
        if self._accept("false"):
            return lambda _row: False
        left = self._operand()
        if not self._accept("="):
            raise self._error()
        right = self._operand()
        return lambda row: left(row) == right(row)

    def _operand(self) -> Callable[[Row], str]:
        named = self._accept("field")
        if not self._tokens or self._tokens[0][0] != "text":
            raise self._error()
        text = self._tokens.pop(0)[1]
        if not named:
            return lambda _row: text
        return lambda row: self._spelled(row, text)

    def _spelled(self, row: Row, field: str) -> str:
        if field not in row.fields:
            raise ApiError("INVALID_VALUE", self._text, f"unknown field {field}")
        value = row.fields[field]
        return str(value).lower() if isinstance(value, bool) else str(value)

    def _accept(self, word: str) -> bool:
        if self._tokens and self._tokens[0] == ("word", word):
            self._tokens.pop(0)
            return True
        return False

    def _error(self) -> ApiError:
        return ApiError("INVALID_VALUE", self._text, _PARSE_ERROR)
