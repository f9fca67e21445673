"""`voice doctor`: what on this machine, in its settings and on the way to others would keep calls from working."""
