"""File processors: what is done with a closed batch. Each is a plug-in behind `core.ports.Processor`."""
