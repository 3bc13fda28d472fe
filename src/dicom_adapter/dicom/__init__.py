"""The standard's words: DICOM Upper Layer and DIMSE as pure values and rules.

Nothing here does I/O, knows a clock, logs or starts a thread: time is an argument, bytes go in, events come out. So
every rule can be tested without a socket, and one core serves both roles, SCP and SCU.
"""
