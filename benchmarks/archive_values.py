"""The studies of a large archive, as functions of their number: the same in Python and in SQL (benchmarks.archive_rows)."""

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product

from benchmarks.dicom_files import Template, encode, small, template_of, uid

_SURNAME_PARTS = (("Ba", "Ce", "Di", "Ho", "Mu", "Sa"), ("nd", "rk", "ss", "mi"), ("er", "o", "ley", "a", "win"))
SURNAMES = tuple("".join(parts) for parts in product(*_SURNAME_PARTS))
FIRST_NAMES = tuple(
    "".join(parts) for parts in product(("Al", "Be", "Jo", "Ka", "Ro", "Vi"), ("an", "in", "sha"), ("", "a", "e"))
)
DATES = tuple((date(2014, 1, 1) + timedelta(days=day)).strftime("%Y%m%d") for day in range(3650))
MODALITIES = ("CT", "CT", "CR", "CR", "DX", "MR", "MR", "US", "MG", "PT")
STUDY_KIND, SERIES_KIND, INSTANCE_KIND = 71, 72, 73
# Multipliers without a factor in common with the lengths of the lists: neighbours differ in everything.
NAME_STEP, FIRST_STEP, DATE_STEP, MODALITY_RUN, STUDIES_OF_PATIENT = 77, 25, 1371, 7, 3


@dataclass(frozen=True, slots=True)
class StudyValues:
    """What study `number` (from 0) says."""

    number: int

    @property
    def uid(self) -> str:
        return uid(STUDY_KIND, self.number)

    @property
    def series_uid(self) -> str:
        """Of its first series; further ones follow at steps of a million million."""
        return uid(SERIES_KIND, self.number)

    @property
    def patient_id(self) -> str:
        return f"P{self.number // STUDIES_OF_PATIENT:08d}"

    @property
    def accession(self) -> str:
        return f"A{self.number:08d}"

    @property
    def surname(self) -> str:
        return SURNAMES[self.number // STUDIES_OF_PATIENT * NAME_STEP % len(SURNAMES)]

    @property
    def first_name(self) -> str:
        return FIRST_NAMES[self.number // STUDIES_OF_PATIENT * FIRST_STEP % len(FIRST_NAMES)]

    @property
    def study_date(self) -> str:
        return DATES[self.number * DATE_STEP % len(DATES)]

    @property
    def modality(self) -> str:
        return MODALITIES[self.number // MODALITY_RUN % len(MODALITIES)]


def small_template() -> Template:
    return template_of(encode(small()))


def small_file(template: Template, number: int) -> tuple[bytes, bytes]:
    """A study of one small instance, for archives that are filled through the front door."""
    study = StudyValues(number)
    header = template.stamp(
        study=study.uid,
        series=study.series_uid,
        sop=uid(INSTANCE_KIND, number),
        patient_name=f"{study.surname}^{study.first_name}",
        patient_id=study.patient_id,
        accession=study.accession,
        study_date=study.study_date,
        modality=study.modality,
        series_number="1",
        number="1",
    )
    return header, template.body
