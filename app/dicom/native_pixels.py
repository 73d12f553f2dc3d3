"""Native pixel data as bytes: byte order, single bits, colour planes (PS3.5 section 8.1 and Annex D).

numpy is imported where it is used: most of what is asked of this module, and of a server, needs none of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Words of a value, by VR, whatever it holds (PS3.5 6.2 and 7.3). VRs that are not here are strings of bytes.
_WORDS = {
    "AT": 2,
    "OW": 2,
    "SS": 2,
    "US": 2,
    "FL": 4,
    "OF": 4,
    "OL": 4,
    "SL": 4,
    "UL": 4,
    "FD": 8,
    "OD": 8,
    "OV": 8,
    "SV": 8,
    "UV": 8,
}


def swap_width(vr: str, bits_allocated: int) -> int:
    """Size in bytes of the words to reverse when a value of Explicit VR Big Endian becomes little endian; 1 = none.

    bits_allocated  of pixel data; 0 for any other value. Pixel cells of 32 and 64 bits in OW are reversed as a whole, which
                    is how they are written in practice; 8-bit and 1-bit cells lie in 16-bit words (PS3.5 Annex D).
    """
    if vr == "OW" and bits_allocated in (32, 64):
        return bits_allocated // 8
    return _WORDS.get(vr, 1)


def swap_bytes(data: bytes, width: int) -> bytes:
    """`data` with the bytes of each word of `width` (1, 2, 4 or 8) reversed; an incomplete last word stays as it is."""
    if width == 1:
        return bytes(data)
    import numpy as np

    whole = len(data) - len(data) % width
    swapped = np.frombuffer(data, f"<u{width}", whole // width).byteswap().tobytes()
    return swapped + bytes(data[whole:])


def extract_bits(data: bytes, first_bit: int, bit_length: int) -> bytes:
    """`bit_length` bits of `data` from `first_bit` on, counted from the least significant bit of the first byte.

    The result begins in the least significant bit of its first byte; unused bits of its last byte are zero. One frame of
    1-bit images is had so (PS3.5 8.1.1: frames follow each other without padding). Raises ValueError when `data` is short.
    """
    if first_bit < 0 or bit_length < 0 or first_bit + bit_length > 8 * len(data):
        raise ValueError(f"bits {first_bit} to {first_bit + bit_length} of {len(data)} bytes")
    first, shift = divmod(first_bit, 8)
    bits = int.from_bytes(data[first : first + (shift + bit_length + 7) // 8], "little") >> shift
    return _lowest(bits, bit_length).to_bytes((bit_length + 7) // 8, "little")


class BitConcatenator:
    """Joins frames whose size is not a multiple of 8 bits, as native pixel data demands, while they come in.

    `add` gives the bytes that are complete so far, `end` the last one, padded with zero bits.
    """

    __slots__ = ("_length", "_pending")

    def __init__(self) -> None:
        self._pending = 0  # the bits of an incomplete byte
        self._length = 0

    def add(self, frame: bytes, bit_length: int) -> bytes:
        """`frame` holds `bit_length` bits from its least significant bit on. Raises ValueError when it is short."""
        if bit_length > 8 * len(frame):
            raise ValueError(f"{bit_length} bits in {len(frame)} bytes")
        total = self._length + bit_length
        bits = _lowest(int.from_bytes(frame[: (bit_length + 7) // 8], "little"), bit_length)
        octets = (bits << self._length | self._pending).to_bytes((total + 7) // 8, "little")
        whole, self._length = divmod(total, 8)
        self._pending = octets[-1] if self._length else 0
        return octets[:whole]

    def end(self) -> bytes:
        last = bytes([self._pending]) if self._length else b""
        self._pending = self._length = 0
        return last


def _lowest(bits: int, count: int) -> int:
    return bits & (1 << count) - 1


def interleave_planes(data: bytes, samples: int, sample_bytes: int) -> bytes:
    """Planar Configuration 1 (all red, all green, all blue) as Planar Configuration 0 (PS3.3 C.7.6.3.1.3)."""
    import numpy as np

    planes = np.frombuffer(data, f"<u{sample_bytes}").reshape(samples, -1)
    return planes.T.tobytes()


def unpack_bits(data: bytes, count: int) -> bytes:
    """The first `count` bits as one byte each, 0 or 1."""
    import numpy as np

    return np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little").tobytes()


def pack_bits(samples: "NDArray[Any]") -> bytes:
    """One bit for each sample, set where it is not zero; the first one in the least significant bit."""
    import numpy as np

    return np.packbits(np.ascontiguousarray(samples).reshape(-1) != 0, bitorder="little").tobytes()
