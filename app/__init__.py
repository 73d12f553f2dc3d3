"""Gantry: a DICOMweb server (DICOM PS3.18)."""
