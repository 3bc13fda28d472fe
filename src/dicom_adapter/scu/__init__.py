"""Association requestor: C-STORE of files as they are stored, and C-ECHO."""
