"""Every transfer syntax of PS3.5 Annex A that an archive may meet, as one table.

`media_type` is the type of a bare frame or stream of that syntax (PS3.18 Table 8.7.3-5), "" where pixel data is native or
where the Standard names none: such frames travel as application/octet-stream.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.errors import UnsupportedTransferSyntax

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"

# Takes the place of a UID in a list of acceptable syntaxes: whatever the instance is stored in (PS3.18 8.7.3.5.2), except
# that Implicit VR LE and Explicit VR BE become Explicit VR LE (PS3.18 8.7.3).
AS_STORED = "*"


class Family(StrEnum):
    NATIVE = "native"
    JPEG = "jpeg"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"
    HTJ2K = "htj2k"
    JPEG_XL = "jpeg-xl"
    RLE = "rle"
    DEFLATED_FRAME = "deflated-frame"
    JPIP = "jpip"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    uid: str
    name: str
    family: Family
    media_type: str = ""
    implicit_vr: bool = False
    big_endian: bool = False
    deflated: bool = False
    encapsulated: bool = True
    lossless: bool = False  # True when the syntax can hold nothing but lossless data

    @property
    def is_video(self) -> bool:
        return self.family is Family.VIDEO


def _native(
    uid: str, name: str, *, implicit_vr: bool = False, big_endian: bool = False, deflated: bool = False
) -> TransferSyntax:
    return TransferSyntax(
        uid,
        name,
        Family.NATIVE,
        implicit_vr=implicit_vr,
        big_endian=big_endian,
        deflated=deflated,
        encapsulated=False,
        lossless=True,
    )


def _image(suffix: str, name: str, family: Family, media_type: str, *, lossless: bool = False) -> TransferSyntax:
    return TransferSyntax(f"1.2.840.10008.1.2.{suffix}", name, family, media_type, lossless=lossless)


def _jpip(suffix: str, name: str, *, deflated: bool = False) -> TransferSyntax:
    """Pixel data stays with its provider, (0028,7FE0) says where; the data set may be deflated (PS3.5 A.6, A.7)."""
    return TransferSyntax(f"1.2.840.10008.1.2.4.{suffix}", name, Family.JPIP, deflated=deflated)


def _video(suffix: str, name: str, media_type: str) -> tuple[TransferSyntax, TransferSyntax]:
    """A video syntax and its fragmentable variant (PS3.5 A.4.5 to A.4.9)."""
    uid = f"1.2.840.10008.1.2.4.{suffix}"
    return (
        TransferSyntax(uid, name, Family.VIDEO, media_type),
        TransferSyntax(f"{uid}.1", f"Fragmentable {name}", Family.VIDEO, media_type),
    )


_J2K, _HT, _XL = Family.JPEG_2000, Family.HTJ2K, Family.JPEG_XL

_TABLE: tuple[TransferSyntax, ...] = (
    _native(IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian", implicit_vr=True),
    _native(EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
    TransferSyntax(
        ENCAPSULATED_UNCOMPRESSED,
        "Encapsulated Uncompressed Explicit VR Little Endian",
        Family.NATIVE,
        lossless=True,
    ),
    _native(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian", deflated=True),
    _native(EXPLICIT_VR_BIG_ENDIAN, "Explicit VR Big Endian", big_endian=True),
    _image("4.50", "JPEG Baseline (Process 1)", Family.JPEG, "image/jpeg"),
    _image("4.51", "JPEG Extended (Process 2 & 4)", Family.JPEG, "image/jpeg"),
    _image("4.57", "JPEG Lossless, Non-Hierarchical (Process 14)", Family.JPEG, "image/jpeg", lossless=True),
    _image("4.70", "JPEG Lossless, First-Order Prediction (Process 14 SV 1)", Family.JPEG, "image/jpeg", lossless=True),
    _image("4.80", "JPEG-LS Lossless", Family.JPEG_LS, "image/jls", lossless=True),
    _image("4.81", "JPEG-LS Lossy (Near-Lossless)", Family.JPEG_LS, "image/jls"),
    _image("4.90", "JPEG 2000 (Lossless Only)", _J2K, "image/jp2", lossless=True),
    _image("4.91", "JPEG 2000", _J2K, "image/jp2"),
    _image("4.92", "JPEG 2000 Part 2 Multi-component (Lossless Only)", _J2K, "image/jpx", lossless=True),
    _image("4.93", "JPEG 2000 Part 2 Multi-component", _J2K, "image/jpx"),
    _jpip("94", "JPIP Referenced"),
    _jpip("95", "JPIP Referenced Deflate", deflated=True),
    _jpip("204", "JPIP HTJ2K Referenced"),
    _jpip("205", "JPIP HTJ2K Referenced Deflate", deflated=True),
    _image("4.201", "High-Throughput JPEG 2000 (Lossless Only)", _HT, "image/jphc", lossless=True),
    _image("4.202", "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)", _HT, "image/jphc", lossless=True),
    _image("4.203", "High-Throughput JPEG 2000", _HT, "image/jphc"),
    _image("4.110", "JPEG XL Lossless", _XL, "image/jxl", lossless=True),
    _image("4.111", "JPEG XL JPEG Recompression", _XL, "image/jxl"),
    _image("4.112", "JPEG XL", _XL, "image/jxl"),
    _image("5", "RLE Lossless", Family.RLE, "image/dicom-rle", lossless=True),
    _image("8.1", "Deflated Image Frame Compression", Family.DEFLATED_FRAME, "", lossless=True),
    *_video("100", "MPEG2 Main Profile / Main Level", "video/mpeg"),
    *_video("101", "MPEG2 Main Profile / High Level", "video/mpeg"),
    *_video("102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", "video/mp4"),
    *_video("103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "video/mp4"),
    *_video("104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "video/mp4"),
    *_video("105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "video/mp4"),
    *_video("106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "video/mp4"),
    TransferSyntax("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile / Level 5.1", Family.VIDEO, "video/H265"),
    TransferSyntax("1.2.840.10008.1.2.4.108", "HEVC/H.265 Main 10 Profile / Level 5.1", Family.VIDEO, "video/H265"),
)

TRANSFER_SYNTAXES: dict[str, TransferSyntax] = {syntax.uid: syntax for syntax in _TABLE}

# Named so that a refusal can say why: they describe live streams and are not used for stored instances (PS3.5 A.7).
_STREAMS = ("1.2.840.10008.1.2.7.1", "1.2.840.10008.1.2.7.2", "1.2.840.10008.1.2.7.3")


def transfer_syntax(uid: str) -> TransferSyntax:
    """The syntax of a UID. Raises UnsupportedTransferSyntax for private, retired and unknown ones."""
    syntax = TRANSFER_SYNTAXES.get(uid)
    if syntax is None:
        reason = "a live stream, not a file format" if uid in _STREAMS else "not known to this archive"
        raise UnsupportedTransferSyntax(f"transfer syntax {uid[:64]} is {reason}")
    return syntax


def wire_syntax(uid: str) -> str:
    """What `AS_STORED` means for an instance stored in `uid` (PS3.18 8.7.3: two syntaxes never go on the wire)."""
    return EXPLICIT_VR_LITTLE_ENDIAN if uid in (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN) else uid
