"""Mutants: a module's text with one decision changed, made from its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


@dataclass(frozen=True)
class Mutant:
    """`text` is the whole module; `what` says what was changed and where."""

    what: str
    text: str


def mutants(text: str) -> Iterator[Mutant]:
    """Every mutant of this module. What only types, documents or is shown to people is left alone."""
    tree = ast.parse(text)
    spots = list(_spots(tree))
    for number in range(len(spots)):
        for way in range(_ways(spots[number])):
            twin = copy.deepcopy(tree)
            spot = list(_spots(twin))[number]
            what = _change(spot, way)
            line = getattr(spot, "lineno", 0)
            yield Mutant(f"line {line}: {what}", ast.unparse(ast.fix_missing_locations(twin)))


def _spots(tree: ast.Module) -> Iterator[ast.AST]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for statement in function.body:
                yield from (node for node in ast.walk(statement) if _ways(node))


def _ways(node: ast.AST) -> int:
    """In how many ways this node can be changed."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            return 1
        case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
            return 1
        case ast.Constant(value=bool()):
            return 1
        case ast.Constant(value=int() | float()):
            return 1
        case ast.Return(value=ast.expr() as value) if not _nothing(value):
            return 1
    return 0


def _nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value in (None, "")


def _change(node: ast.AST, way: int) -> str:
    assert way == 0
    before = ast.unparse(node)
    match node:
        case ast.Compare(ops=[op]):
            node.ops = [COMPARED[type(op)]()]
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp():
            node.op, node.operand = ast.Not(), ast.UnaryOp(op=ast.Not(), operand=node.operand)
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=(int() | float()) as number):
            node.value = number + 1
        case ast.Return():
            node.value = ast.Constant(value=None)
    return f"{before} -> {ast.unparse(node)}"
