"""A frame costs the same whether it has no companions, a thousand or a hundred thousand."""

from collections.abc import Callable

from benchmarks.cases.case import Case
from benchmarks.cases.frames import fragments_of, is_frame, spread
from benchmarks.corpus import RLE
from benchmarks.lab import Lab
from benchmarks.load import Probe
from benchmarks.measurement import Measurement
from benchmarks.servers import Gantry, Server

AS_STORED = {"Accept": f'multipart/related; type="image/dicom-rle"; transfer-syntax={RLE}'}
# The peer does not know this media type: it decodes, which is its way to any encapsulated frame of this syntax.
_PEER_HEADERS = {"Accept": 'multipart/related; type="application/octet-stream"'}


def _ladder(case: str, frames: str) -> Callable[[Lab], list[Measurement]]:
    def run(lab: Lab) -> list[Measurement]:
        count = lab.corpus.size.long_frames if frames == "long" else int(frames)
        name = f"ladder-{count}"
        series = lab.series(name)
        # As many different frames of each: what is asked for again and again stays in the processor's caches.
        numbers = spread(count, 50)
        places = [(index, number) for index in range(series.count) for number in numbers]
        check = is_frame(fragments_of(series.template.body[: 12 + 8 + 4 * count + 20_000])[0])

        def probe(server: Server) -> Probe:
            paths = [f"{server.base}{series.instance_path(index)}/frames/{number}" for index, number in places]
            return Probe(paths, AS_STORED, check) if isinstance(server, Gantry) else Probe(paths[:3], _PEER_HEADERS)

        # The peer takes minutes to store the longest, and longer for each frame the more there are.
        return lab.compare(case, probe, names=[name], limit=True, peers=frames != "long")

    return run


CASES = [
    Case("frame-of-1", "a 4 KiB frame, alone in its object", "half of nginx", _ladder("frame-of-1", "1")),
    Case("frame-of-1000", "the same of 1,000 frames", "within 20 % of alone", _ladder("frame-of-1000", "1000")),
    Case("frame-of-100000", "the same of 100,000 frames", "within 20 % of alone", _ladder("frame-of-100000", "long")),
]
