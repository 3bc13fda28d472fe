"""The one I/O shell of the DICOM Upper Layer, both roles: sockets, pipes and time around the pure `dicom` package."""
