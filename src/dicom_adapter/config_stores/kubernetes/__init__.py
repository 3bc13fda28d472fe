"""Resources in a Kubernetes cluster. Only `cluster` may be imported where the extra `kubernetes` is not installed.

cluster     which cluster, in which namespace, as whom
client      the calls to its API server, and what their failures mean
reflector   one kind, kept in step: list, watch, and list again
kept        the last known resources on disk, for a start while the API server is away
upkeep      what is written by itself: status into the cluster, the last known resources onto the disk
store       the ConfigStore over these
"""
