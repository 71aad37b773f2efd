"""
Proof on a real account: what this project assumes of AWS, asked of AWS.

`assumptions` is the table of what is assumed, `kit` asks level by level, `recording` keeps what was said
(redacted before it is written), and `replay` asks a sandbox the same and lists every difference.
"""
