"""The index of facts: what became of each instance after intake. The spool is the truth about the instances."""
