"""Stand-ins for what a site runs beside the adapter, to test a set-up without it. Nothing of the adapter uses them."""
