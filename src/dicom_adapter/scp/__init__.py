"""Association acceptor: listens, admits, answers C-ECHO and C-STORE, and hands what it received to the spool."""
