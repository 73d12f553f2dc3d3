"""Every error of the domain, in one tree. No HTTP status and no DIMSE status lives here: each door has one table.

GantryError
├── InvalidRequest            the client's message is wrong, whatever the archive holds
│   ├── InvalidUid            not a DICOM UID (PS3.5 section 9.1)
│   ├── InvalidFrameList      not an ascending list of frame numbers (PS3.18 10.1.1)
│   ├── InvalidQuery          a supported search parameter has an unusable value (PS3.18 8.3)
│   ├── InvalidParameter      any other query parameter has an unusable value
│   ├── InvalidMediaType      a media type that is needed cannot be parsed
│   └── MalformedMessage      broken multipart framing, broken content coding, ...
├── UnsupportedMediaType      the request's Content-Type or Content-Encoding is not one we read
├── TooLarge                  a bound on size, count or depth of a request was passed
├── NotAcceptable             nothing the client accepts can be produced
├── NotFound                  the resource is not known
│   └── Gone                  it was, and has been deleted
├── DicomError                stored or offered bytes are not what DICOM says
│   ├── NotDicom              not a PS3.10 file and not guessable as one
│   ├── TruncatedDicom        the file ends within an element or its pixel data
│   ├── MalformedDicom        lengths, nesting or sizes beyond what a reader may follow
│   └── UnsupportedTransferSyntax
├── CodecError                pixel data cannot be decoded or encoded
├── Unavailable               a part we depend on does not answer: try again later
│   ├── DatabaseUnavailable
│   ├── BlobStoreUnavailable
│   └── OutOfSpace            disk, quota or bucket is full
├── ArchiveIncomplete         the database knows less than the blob store holds: what needs all of it is not done
└── BlobNotFound              a blob that a row names is missing (an integrity fault, never "not found")
"""


class GantryError(Exception):
    """Base of every error that Gantry raises on purpose. `str(error)` is fit for a stranger's eyes."""


class InvalidRequest(GantryError):
    """The message is wrong in itself."""


class InvalidUid(InvalidRequest):
    """Not a UID: digits and dots, at most 64 characters."""


class InvalidFrameList(InvalidRequest):
    """Not a list of frame numbers."""


class InvalidQuery(InvalidRequest):
    """A search parameter that we support has a value that we cannot use."""


class InvalidParameter(InvalidRequest):
    """A query parameter has a value that we cannot use."""


class InvalidMediaType(InvalidRequest):
    """A media type does not follow its grammar."""


class MalformedMessage(InvalidRequest):
    """The body does not follow its own framing."""


class UnsupportedMediaType(GantryError):
    """A Content-Type or Content-Encoding that we do not read."""


class TooLarge(GantryError):
    """A bound was passed; the message names it."""


class NotAcceptable(GantryError):
    """None of the acceptable representations can be produced."""


class NotFound(GantryError):
    """Not in the archive."""


class Gone(NotFound):
    """Was in the archive and has been deleted."""


class DicomError(GantryError):
    """Bytes that are not what DICOM says."""


class NotDicom(DicomError):
    """Not DICOM at all."""


class TruncatedDicom(DicomError):
    """Ends too early."""


class MalformedDicom(DicomError):
    """Cannot be followed."""


class UnsupportedTransferSyntax(DicomError):
    """A transfer syntax that nobody here can read."""


class CodecError(GantryError):
    """Pixel data that cannot be decoded or encoded."""


class Unavailable(GantryError):
    """Something we need does not answer; the same request may succeed later."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class BlobStoreUnavailable(Unavailable):
    """The blob store does not answer."""


class OutOfSpace(Unavailable):
    """No room left for what should be stored."""


class ArchiveIncomplete(GantryError):
    """The database does not know, or may not know, all that was stored."""


class BlobNotFound(GantryError):
    """A blob that should exist does not."""
