"""Messages on the log: msgspec structs, closed enums of reasons, ids, the codec and the topic catalogue.

Imports nothing of ours but itself; no I/O, no clock (design law 1).
"""
