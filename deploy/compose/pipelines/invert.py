import sys
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid

input_folder, output_folder = map(Path, sys.argv[1:])
series = generate_uid()  # results are a series of their own, in the study and of the patient that they came from
for path in input_folder.glob("*.dcm"):
    image = dcmread(path)
    image.SeriesInstanceUID, image.SOPInstanceUID = series, generate_uid()
    image.PixelData = bytes(255 - byte for byte in image.PixelData)
    image.save_as(output_folder / path.name, enforce_file_format=True)
