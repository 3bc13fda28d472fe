"""REST: what runs, where each study is, and the actions on it."""
