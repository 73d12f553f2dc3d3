"""Headers that are written bit by bit."""


class OutOfBits(Exception):
    """The header goes on behind the last byte."""


class BitReader:
    """Takes unsigned numbers from bytes. little_endian: the first bit is the least significant one of the first byte."""

    def __init__(self, data: bytes, *, little_endian: bool = False) -> None:
        self._value = int.from_bytes(data, "little" if little_endian else "big")
        self._size = 8 * len(data)
        self._little_endian = little_endian
        self._position = 0

    def take(self, count: int) -> int:
        """The next `count` bits. Raises OutOfBits."""
        start, end = self._position, self._position + count
        if end > self._size:
            raise OutOfBits
        self._position = end
        shift = start if self._little_endian else self._size - end
        return self._value >> shift & (1 << count) - 1

    def flag(self) -> bool:
        return bool(self.take(1))

    def align(self) -> None:
        """On to the next whole byte."""
        self._position += -self._position % 8

    def exp_golomb(self) -> int:
        """ue(v) of ITU-T H.264 9.1 and H.265 9.2. Raises OutOfBits, also for numbers of more than 32 bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise OutOfBits
        return (1 << zeros) - 1 + self.take(zeros)

    def u64(self) -> int:
        """U64() of ISO/IEC 18181-1 B.2.2."""
        choice = self.take(2)
        if choice == 0:
            return 0
        if choice < 3:
            return 1 + self.take(4) if choice == 1 else 17 + self.take(8)
        value, shift = self.take(12), 12
        while self.flag():
            if shift >= 60:
                return value | self.take(4) << shift
            value |= self.take(8) << shift
            shift += 8
        return value
