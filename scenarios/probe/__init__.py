"""How one server starts and stops, seen on raw sockets, and what that means on each platform.

What is sent when is data (`plans`), what came back is data (`transcript`), and what that says is a
pure function of it (`findings`); `driver` and `server` do the I/O. `meaning` goes from the findings
to the settings that lose nothing, and to a prediction for a platform.
"""
