"""Bytes in memory, in the pieces that they came in until somebody wants them whole."""

# A smaller piece would keep a chunk of the request alive that is many times its size: it is copied.
WORTH_A_REFERENCE = 64 * 1024

Piece = bytes | bytearray | memoryview


class HeldBytes:
    """Not for several threads at a time."""

    __slots__ = ("_gathering", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.size = 0
        self._gathering: bytearray | None = None  # the last piece, where it is one of several small ones

    def add(self, piece: memoryview) -> None:
        """Copied, unless it is a large part of something that cannot change."""
        self.size += len(piece)
        if len(piece) >= WORTH_A_REFERENCE:
            self.pieces.append(piece if type(piece.obj) is bytes else piece.tobytes())
            self._gathering = None
        elif self._gathering is None:
            self._gathering = bytearray(piece)
            self.pieces.append(self._gathering)
        else:
            self._gathering += piece

    def head(self, length: int) -> bytes:
        """The first bytes, fewer where there are no more."""
        found: list[Piece] = []
        for piece in self.pieces:
            found.append(memoryview(piece)[:length])
            length -= len(found[-1])
            if not length:
                break
        return b"".join(found)

    def behind(self, offset: int) -> list[Piece]:
        """All but the first `offset` bytes."""
        found: list[Piece] = []
        for piece in self.pieces:
            if offset < len(piece):
                found.append(memoryview(piece)[offset:] if offset else piece)
            offset = max(0, offset - len(piece))
        return found

    def whole(self) -> bytes:
        if len(self.pieces) != 1 or not isinstance(self.pieces[0], bytes):
            self.pieces = [b"".join(self.pieces)]
            self._gathering = None
        return bytes(self.pieces[0])  # itself, not a copy

    def clear(self) -> None:
        self.pieces = []
        self.size = 0
        self._gathering = None
