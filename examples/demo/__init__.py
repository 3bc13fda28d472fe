"""`make demo`: a study's whole trip on this machine, with real DICOM at both ends.

A head CT is sent to the adapter, which runs the sample pipeline on it and delivers what comes out to a second AE, "the
PACS": an independent program on another library. Everything that the demo starts, it ends.
"""
