"""The control plane: everything after intake. One asyncio loop; blocking calls go to threads."""
