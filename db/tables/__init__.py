"""Tables of one's own: each module here is one, and holds its `TABLE` (db/table.py). docs/your-agent.md writes one."""
