"""The command line. It talks: to a person, a shell, a process manager.

One module a command, imported when that command is chosen, so that ``streamq --help`` answers at once.
"""
