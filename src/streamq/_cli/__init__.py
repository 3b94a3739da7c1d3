"""The command line. It talks: to a person, to a shell, to a process manager. Everything it does goes through the public doors.

One module a command, imported when that command is chosen, so that ``streamq --help`` answers at once.
"""
