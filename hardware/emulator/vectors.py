"""What the inner loops do to several neighbours at once, written as vectors of LLVM.

Compilers prove neither that two arrays are apart nor that a length is a multiple of the vector's, and choose short
vectors where long ones would do. Nothing here depends on the processor: LLVM cuts the vectors to those that it has.
"""

from __future__ import annotations

from typing import Any, Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # weights are stored and added, compartments updated, in multiples of this many
MAX_LANES = 128  # that are added at once, some of them beyond the last target

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


class _Arrays:
    """Vectors in the arrays that an intrinsic was given."""

    def __init__(self, context: Any, builder: Any):
        self.context, self.builder = context, builder

    def data(self, array_type: Any, array: Any) -> Any:
        return self.context.make_array(array_type)(self.context, self.builder, array).data

    def pointer(self, data: Any, index: Any, kind: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [index]), kind.as_pointer())

    def load(self, data: Any, index: Any, kind: Any, align: int) -> Any:
        return self.builder.load(self.pointer(data, index, kind), align=align)

    def store(self, value: Any, data: Any, index: Any, align: int) -> None:
        self.builder.store(value, self.pointer(data, index, value.type), align=align)


def _all(builder: Any, value: Any, kind: Any) -> Any:
    """A vector that holds one number in all lanes."""
    first = builder.insert_element(ir.Constant(kind, None), value, _I32(0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_I32, kind.count), None))


def _number(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _add_rows(lanes: int) -> Callable[..., None]:
    """Make ``add_rows(q, place, pool, offset, rows, n_rows, shift)`` for `lanes` neighbouring targets.

    q[place + i] += (Σ_k pool[rows[k] + offset + i]) << shift, the sum in 16 bits.
    """

    @intrinsic
    def add_rows(typingctx, q, place, pool, offset, rows, n_rows, shift):
        signature = types.void(q, types.int64, pool, types.int64, rows, types.int64, types.int64)

        def codegen(context, builder, sig, args):
            q_type, _, pool_type, _, rows_type, _, _ = sig.args
            q, place, pool, offset, rows, n_rows, shift = args
            narrow, wide = ir.VectorType(_I16, lanes), ir.VectorType(_I32, lanes)
            arrays = _Arrays(context, builder)
            q, pool, rows = arrays.data(q_type, q), arrays.data(pool_type, pool), arrays.data(rows_type, rows)
            entry = builder.basic_block
            loop = builder.append_basic_block(f"sum{lanes}")
            done = builder.append_basic_block(f"sum{lanes}.done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k, total = builder.phi(_I64), builder.phi(narrow)
            row = builder.load(builder.gep(rows, [k]))
            after = builder.add(total, arrays.load(pool, builder.add(row, offset), narrow, 2))
            following = builder.add(k, _I64(1))
            for phi, first, again in ((k, _I64(0), following), (total, ir.Constant(narrow, None), after)):
                phi.add_incoming(first, entry)
                phi.add_incoming(again, loop)
            builder.cbranch(builder.icmp_signed("<", following, n_rows), loop, done)
            builder.position_at_end(done)
            _add_weights(arrays, q, place, after, shift, wide)
            return context.get_dummy_value()

        return signature, codegen

    return add_rows


def _add_weights(arrays: _Arrays, q: Any, place: Any, weights: Any, shift: Any, wide: Any) -> None:
    """q[place + i] += weights[i] << shift"""
    builder = arrays.builder
    weight = builder.shl(builder.sext(weights, wide), _all(builder, builder.trunc(shift, _I32), wide))
    arrays.store(builder.add(arrays.load(q, place, wide, 4), weight), q, place, 4)


def _add_row(lanes: int) -> Callable[..., None]:
    """Make ``add_row(q, place, pool, row, shift)``: q[place + i] += pool[row + i] << shift."""

    @intrinsic
    def add_row(typingctx, q, place, pool, row, shift):
        signature = types.void(q, types.int64, pool, types.int64, types.int64)

        def codegen(context, builder, sig, args):
            q_type, _, pool_type, _, _ = sig.args
            q, place, pool, row, shift = args
            arrays = _Arrays(context, builder)
            weights = arrays.load(arrays.data(pool_type, pool), row, ir.VectorType(_I16, lanes), 2)
            _add_weights(arrays, arrays.data(q_type, q), place, weights, shift, ir.VectorType(_I32, lanes))
            return context.get_dummy_value()

        return signature, codegen

    return add_row


add_rows_128, add_rows_64, add_rows_32, add_rows_16 = (_add_rows(lanes) for lanes in (128, 64, 32, 16))
add_row_128, add_row_64, add_row_32, add_row_16, add_row_8 = (_add_row(lanes) for lanes in (128, 64, 32, 16, 8))


def _rounds_to_zero(context: Any) -> bool:
    """Whether code is made for a processor that can round a single product towards zero."""
    return "+avx512f" in getattr(context.codegen(), "_tm_features", "")


def _decayed(arrays: _Arrays, x: Any, keep: Any) -> Any:
    """sign(x) ⌊|x| keep / 4096⌋ of numbers of 23 bits and a sign, keep ≤ 4096."""
    builder, narrow = arrays.builder, x.type
    if _rounds_to_zero(arrays.context) and narrow.count == 16:
        return _decayed_in_floats(builder, x, keep)
    # the products in 64 bits: those of even lanes, and those of odd ones
    wide = ir.VectorType(_I64, narrow.count // 2)
    zero = _number(narrow, 0)
    negative = builder.icmp_signed("<", x, zero)
    pairs = builder.bitcast(builder.select(negative, builder.sub(zero, x), x), wide)
    low, keep = _number(wide, 2**32 - 1), builder.zext(keep, _I64)
    keep = _all(builder, keep, wide)
    even = builder.lshr(builder.mul(builder.and_(pairs, low), keep), _number(wide, 12))
    odd = builder.shl(builder.mul(builder.lshr(pairs, _number(wide, 32)), keep), _number(wide, 20))
    odd = builder.and_(odd, _number(wide, 2**64 - 2**32))
    magnitude = builder.bitcast(builder.or_(even, odd), narrow)
    return builder.select(negative, builder.sub(zero, magnitude), magnitude)


def _decayed_in_floats(builder: Any, x: Any, keep: Any) -> Any:
    """The same in float32, for processors that can round a product towards zero.

    x and keep / 4096 are floats. Their product is below 2^23, so that the 24 bits that are left of it hold all of its
    integer part; and cutting off a fraction twice is cutting it off once.
    """
    floats = ir.VectorType(ir.FloatType(), 16)
    part = builder.fmul(builder.sitofp(keep, ir.FloatType()), ir.FloatType()(1 / 4096))
    kind = ir.FunctionType(floats, [floats, floats, _I32])
    multiply = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mul.ps.512")
    towards_zero = _I32(8 | 3)  # _MM_FROUND_NO_EXC | _MM_FROUND_TO_ZERO
    product = builder.call(multiply, [builder.sitofp(x, floats), _all(builder, part, floats), towards_zero])
    return builder.fptosi(product, x.type)


def _update(rests: bool) -> Callable[..., int]:
    """Make ``update(registers, numbers, q_at, q_stride, place, word_at, word_stride, first, n)``.

    Updates `LANES` compartments from `place` on for the steps `first` … n - 1 as `updates.update_compartments` does,
    their state in registers of the processor. Returns n, or the first step in which a register of the chip might wrap
    around (q outside 21 bits, or u outside ± u_limit); that step is left to the caller.

    registers: q, u, v, r, bias, vth, words. Of step s, q begins at ``q_at + s q_stride``, and spikes are bits of
    ``words[word_at + s word_stride]``. numbers: keep_u, keep_v, refractory, vmin, vmax, u_limit.
    """

    @intrinsic
    def update(typingctx, registers, numbers, q_at, q_stride, place, word_at, word_stride, first, n):
        signature = types.int64(registers, numbers, *[types.int64] * 7)

        def codegen(context, builder, sig, args):
            arrays = _Arrays(context, builder)
            data = [arrays.data(kind, a) for kind, a in zip(sig.args[0], cgutils.unpack_tuple(builder, args[0]))]
            keep_u, keep_v, refractory, vmin, vmax, u_limit = cgutils.unpack_tuple(builder, args[1])
            q_at, q_stride, place, word_at, word_stride, first, n = args[2:]
            kind, bits = ir.VectorType(_I32, LANES), ir.IntType(LANES)
            zero, one = _number(kind, 0), _number(kind, 1)
            state = [arrays.load(array, place, kind, 4) for array in data[1 : 4 if rests else 3]]
            bias, vth = (arrays.load(array, place, kind, 4) for array in data[4:6])
            low, high, limit = (_all(builder, number, kind) for number in (vmin, vmax, u_limit))
            rest = _all(builder, refractory, kind)
            before = builder.basic_block
            loop, go_on, stop = (builder.append_basic_block(f"update.{name}") for name in ("step", "fits", "stop"))
            builder.branch(loop)

            builder.position_at_end(loop)
            s, phis = builder.phi(_I64), [builder.phi(kind) for _ in state]
            s.add_incoming(first, before)
            for phi, value in zip(phis, state):
                phi.add_incoming(value, before)
            u, v = phis[:2]
            at = builder.add(q_at, builder.mul(s, q_stride))
            q = arrays.load(data[0], at, kind, 4)
            u = builder.add(_decayed(arrays, u, keep_u), q)
            fits = builder.and_(
                builder.icmp_unsigned("<", builder.add(q, _number(kind, 2**21)), _number(kind, 2**22)),
                builder.icmp_unsigned("<", builder.add(u, limit), builder.add(limit, limit)),
            )
            builder.cbranch(builder.icmp_signed("==", builder.bitcast(fits, bits), bits(-1)), go_on, stop)

            builder.position_at_end(go_on)
            v = builder.add(_decayed(arrays, v, keep_v) if rests else v, builder.add(u, bias))
            v = builder.select(builder.icmp_signed("<", v, low), low, v)
            v = builder.select(builder.icmp_signed(">", v, high), high, v)
            after = [u, v]
            if rests:
                v = builder.select(builder.icmp_signed(">", phis[2], zero), zero, v)
            spiked = builder.icmp_signed(">", v, vth)
            after[1] = builder.select(spiked, zero, v)
            if rests:
                r = builder.sub(builder.select(spiked, rest, phis[2]), one)
                after.append(builder.select(builder.icmp_signed("<", r, zero), zero, r))
            arrays.store(zero, data[0], at, 4)
            word = builder.add(word_at, builder.mul(s, word_stride))
            builder.store(builder.bitcast(spiked, bits), builder.gep(data[6], [word]))
            following = builder.add(s, _I64(1))
            s.add_incoming(following, go_on)
            for phi, value in zip(phis, after):
                phi.add_incoming(value, go_on)
            builder.cbranch(builder.icmp_signed("<", following, n), loop, stop)

            builder.position_at_end(stop)
            reached, last = builder.phi(_I64), [builder.phi(kind) for _ in state]
            for block, step, values in ((loop, s, phis), (go_on, following, after)):
                reached.add_incoming(step, block)
                for phi, value in zip(last, values):
                    phi.add_incoming(value, block)
            for value, array in zip(last, data[1:]):
                arrays.store(value, array, place, 4)
            return reached

        return signature, codegen

    return update


update_relu, update_lif = _update(False), _update(True)


def _steady(loihi: bool) -> Callable[..., None]:
    """Make ``spikes(x, v, bits, at, stride, n)``: n steps of 64 rectified neurons with the same input in all steps.

    The spikes of step s become ``bits[at + s stride]``. x is the input of a step and v the voltage, (64,) float64.
    """

    @intrinsic
    def spikes(typingctx, x, v, bits, at, stride, n):
        signature = types.void(x, v, bits, types.int64, types.int64, types.int64)

        def codegen(context, builder, sig, args):
            arrays = _Arrays(context, builder)
            kind = ir.VectorType(ir.DoubleType(), 64)
            zero, one = (ir.Constant(kind, [number] * 64) for number in (0.0, 1.0))
            data = [arrays.data(array_type, array) for array_type, array in zip(sig.args[:3], args[:3])]
            at, stride, n = args[3:]
            x, start = (arrays.load(array, _I64(0), kind, 8) for array in data[:2])
            before = builder.basic_block
            loop, done = builder.append_basic_block("steady.step"), builder.append_basic_block("steady.done")
            builder.branch(loop)
            builder.position_at_end(loop)
            s, v = builder.phi(_I64), builder.phi(kind)
            s.add_incoming(_I64(0), before)
            v.add_incoming(start, before)
            full = builder.fadd(v, x)
            if loihi:  # nengo_loihi.neurons.LoihiSpikingRectifiedLinear.step
                spiked = builder.fcmp_ordered(">", full, one)
                after = builder.select(builder.or_(spiked, builder.fcmp_ordered("<", full, zero)), zero, full)
            else:  # nengo.SpikingRectifiedLinear.step
                whole = cgutils.get_or_insert_function(
                    builder.module, ir.FunctionType(kind, [kind]), "llvm.floor.v64f64"
                )
                whole = builder.call(whole, [full])
                spiked = builder.fcmp_unordered("!=", whole, zero)
                after = builder.fsub(full, whole)
            word = builder.gep(data[2], [builder.add(at, builder.mul(s, stride))])
            builder.store(builder.bitcast(spiked, _I64), word)
            following = builder.add(s, _I64(1))
            s.add_incoming(following, loop)
            v.add_incoming(after, loop)
            builder.cbranch(builder.icmp_signed("<", following, n), loop, done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return signature, codegen

    return spikes


reset_spikes, whole_spikes = _steady(True), _steady(False)


def _of_word(name: str) -> Callable[[int], int]:
    """Make a function of a 64-bit word that processors have an instruction for."""

    @intrinsic
    def function(typingctx, word):
        def codegen(context, builder, sig, args):
            return builder.cttz(args[0], _I1(1)) if name == "cttz" else builder.ctpop(args[0])

        return types.int64(types.uint64), codegen

    return function


lowest_bit = _of_word("cttz")  # number of the lowest bit that is set
n_bits = _of_word("ctpop")  # how many bits are set
