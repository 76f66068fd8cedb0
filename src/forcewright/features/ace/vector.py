"""Explicit SIMD vectors of float64 inside Numba: what a loop does per lane is said, not left to an auto-vectorizer.

`Vector` is a Numba type that holds LLVM's ``<lanes x double>``. The functions below work on such values and on flat,
contiguous float64 arrays at given offsets; LLVM splits vectors wider than the processor's registers by itself. Widths
are fixed at import (8 for loops over neighbors, 16 for loops over atoms), so that compiled code can be cached on disk.
"""

# Numba types these functions itself, from how they are called.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, var-annotated"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model


class Vector(types.Type):
    """The Numba type of ``lanes`` float64 in one SIMD value."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Vector(float64 x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, _llvm_type(fe_type.lanes))


def _llvm_type(lanes: int) -> ir.VectorType:
    return ir.VectorType(ir.DoubleType(), lanes)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, lanes: int = 0) -> Any:
    """Return a pointer to element ``offset`` of ``array``; to a vector there if ``lanes`` is given."""
    pointer = builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])
    return builder.bitcast(pointer, _llvm_type(lanes).as_pointer()) if lanes else pointer


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    undefined = ir.Constant(_llvm_type(lanes), ir.Undefined)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, zeros)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """A·b + c, fused where the processor can."""
    lanes, kind = a.type.count, a.type
    name = f"llvm.fmuladd.v{lanes}f64"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [a, b, c])


def _loader(lanes: int) -> Callable[..., Any]:
    @intrinsic
    def load(typing_context, array, offset):
        def generate(context, builder, signature, args):
            return builder.load(_pointer(context, builder, array, args[0], args[1], lanes), align=8)

        return Vector(lanes)(array, types.intp), generate

    return load


def _splatter(lanes: int) -> Callable[..., Any]:
    @intrinsic
    def splat(typing_context, scalar):
        def generate(context, builder, signature, args):
            return _splat(builder, args[0], lanes)

        return Vector(lanes)(types.float64), generate

    return splat


#: ``load(array, offset)``: the vector that starts at element ``offset``.
load8, load16 = _loader(8), _loader(16)
#: ``splat(x)``: the same number in every lane.
splat8, splat16 = _splatter(8), _splatter(16)


@intrinsic
def store(typing_context, array, offset, vector):
    """Write ``vector`` from element ``offset`` of ``array`` on."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _pointer(context, builder, array, args[0], args[1], vector.lanes), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


def _ternary(generate: Callable[[Any, Any, Any, Any], Any], text: str) -> Callable[..., Any]:
    @intrinsic
    def operation(typing_context, a, b, c):
        return a(a, b, c), lambda context, builder, signature, args: generate(builder, *args)

    operation.__doc__ = text
    return operation


def _binary(generate: Callable[[Any, Any, Any], Any], text: str) -> Callable[..., Any]:
    @intrinsic
    def operation(typing_context, a, b):
        return a(a, b), lambda context, builder, signature, args: generate(builder, *args)

    operation.__doc__ = text
    return operation


def _unary(name: str, text: str) -> Callable[..., Any]:
    @intrinsic
    def operation(typing_context, a):
        def generate(context, builder, signature, args):
            kind = args[0].type
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{kind.count}f64"
            )
            return builder.call(function, args)

        return a(a), generate

    operation.__doc__ = text
    return operation


@intrinsic
def store_integers(typing_context, array, offset, vector):
    """Write the integral numbers of ``vector`` from element ``offset`` of the int64 ``array`` on."""

    def generate(context, builder, signature, args):
        kind = ir.VectorType(ir.IntType(64), vector.lanes)
        pointer = builder.bitcast(_pointer(context, builder, array, args[0], args[1]), kind.as_pointer())
        builder.store(builder.fptosi(args[2], kind), pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


fma = _ternary(_multiply_add, "a·b + c.")
fnma = _ternary(lambda builder, a, b, c: _multiply_add(builder, builder.fneg(a), b, c), "c - a·b.")
mul = _binary(lambda builder, a, b: builder.fmul(a, b), "a·b.")
add = _binary(lambda builder, a, b: builder.fadd(a, b), "a + b.")
sub = _binary(lambda builder, a, b: builder.fsub(a, b), "a - b.")
div = _binary(lambda builder, a, b: builder.fdiv(a, b), "a / b.")
smaller = _binary(
    lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b), "The smaller of a and b, lane by lane."
)
sqrt = _unary("sqrt", "√a.")
floor = _unary("floor", "The largest integral number not above a.")


def _shuffle(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), 8), list(lanes)))


@intrinsic
def transpose8(typing_context, a, b, c, d, e, f, g, h):
    """Return the columns of the 8 × 8 matrix whose rows are the eight vectors, as a tuple."""

    def generate(context, builder, signature, args):
        rows = list(args)
        # Three rounds exchange blocks of 1, 2 and 4 lanes between rows that distance apart.
        for block in (1, 2, 4):
            low = [k if not k & block else 8 + (k ^ block) for k in range(8)]
            high = [k ^ block if not k & block else 8 + k for k in range(8)]
            for k in range(8):
                if not k & block:
                    first, second = rows[k], rows[k + block]
                    rows[k] = _shuffle(builder, first, second, low)
                    rows[k + block] = _shuffle(builder, first, second, high)
        return context.make_tuple(builder, signature.return_type, rows)

    return types.UniTuple(a, 8)(a, b, c, d, e, f, g, h), generate


def _tile(rows: int, columns: int) -> Callable[..., Any]:
    """Return the product of a strip of scalars with a strip of vectors, ``rows`` × ``columns`` of 8 lanes in registers.

    ``tile(scalars, s, s_stride, vectors, v, v_stride, count, out, o, o_stride, keep)`` forms, for row r and column c,
    Σ_k scalars[s + r·s_stride + k] · vectors[v + k·v_stride + 8c …] over k < count, and writes it to
    out[o + r·o_stride + 8c …], added to what stands there if ``keep`` is true.
    """

    @intrinsic
    def tile(typing_context, scalars, s, s_stride, vectors, v, v_stride, count, out, o, o_stride, keep):
        integer = types.intp
        signature = types.void(
            scalars, integer, integer, vectors, integer, integer, integer, out, integer, integer, types.boolean
        )

        def generate(context, builder, signature, args):
            scalars_, s_, s_stride_, vectors_, v_, v_stride_, count_, out_, o_, o_stride_, keep_ = args
            constant = lambda number: ir.Constant(s_.type, number)  # noqa: E731
            zero = ir.Constant(_llvm_type(8), [0.0] * 8)
            places = [(r, c) for r in range(rows) for c in range(columns)]
            sums = {element: cgutils.alloca_once_value(builder, zero) for element in places}
            with cgutils.for_range(builder, count_) as loop:
                k = loop.index
                start = builder.add(v_, builder.mul(k, v_stride_))
                loaded = [
                    builder.load(
                        _pointer(context, builder, vectors, vectors_, builder.add(start, constant(8 * c)), 8), align=8
                    )
                    for c in range(columns)
                ]
                for r in range(rows):
                    at = builder.add(builder.add(s_, k), builder.mul(constant(r), s_stride_))
                    scalar = _splat(builder, builder.load(_pointer(context, builder, scalars, scalars_, at)), 8)
                    for c in range(columns):
                        sum_ = sums[r, c]
                        builder.store(_multiply_add(builder, scalar, loaded[c], builder.load(sum_)), sum_)
            pointers = {
                (r, c): _pointer(
                    context, builder, out, out_,
                    builder.add(builder.add(o_, builder.mul(constant(r), o_stride_)), constant(8 * c)), 8,
                )
                for r, c in places
            }  # fmt: skip
            with builder.if_then(keep_):
                for element in places:
                    kept = builder.load(pointers[element], align=8)
                    builder.store(builder.fadd(kept, builder.load(sums[element])), sums[element])
            for element in places:
                builder.store(builder.load(sums[element]), pointers[element], align=8)
            return context.get_dummy_value()

        return signature, generate

    return tile


# Sums held in registers: enough to hide the latency of a multiply-add, few enough for 32 registers of 8 lanes.
tile1x1, tile2x1, tile3x1, tile4x1 = _tile(1, 1), _tile(2, 1), _tile(3, 1), _tile(4, 1)
tile5x1, tile6x1, tile7x1, tile8x1 = _tile(5, 1), _tile(6, 1), _tile(7, 1), _tile(8, 1)
tile1x2, tile2x2, tile3x2 = _tile(1, 2), _tile(2, 2), _tile(3, 2)
tile4x2, tile5x2, tile6x2 = _tile(4, 2), _tile(5, 2), _tile(6, 2)
