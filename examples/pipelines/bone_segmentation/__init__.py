"""A sample pipeline: finds the bone in a CT series and returns it as a DICOM Segmentation and a picture.

    python3 -m bone_segmentation INPUT OUTPUT

INPUT holds the batch's DICOM files, OUTPUT takes the results; progress goes to stdout, the reason of a failure to
stderr. It shows what a pipeline has to get right: results in the source study, for the same patient, in new series,
with references to the source images, and with UIDs that are the same when the same batch runs again.

A demonstration of the plumbing, not a medical device.
"""

VERSION = "1.0"
