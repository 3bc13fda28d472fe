"""A Clara Platform in one process, for tests (contract 1). `python -m dicom_adapter.testing.clara_platform --help`.

Jobs are in memory, payloads in a folder. `state` has the rules, `server` the gRPC face of them.
"""
