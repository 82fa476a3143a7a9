"""What decides a Jetson's speed beside the model: power mode, clocks, heat, memory, rails.

A latency without the power mode that it was measured in says nothing. All of it is read from
files of the system and from NVIDIA's ``tegrastats`` and ``nvpmodel``; the parsers take text.
Recorded texts only were read so far, never a board.
"""
