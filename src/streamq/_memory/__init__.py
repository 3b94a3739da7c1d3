"""The broker in memory, on which the real Lua scripts run: for simulations, and for tests without a server.

Its door is `link`, which `_store/dial.py` opens for urls ``memory://NAME``; it needs the extra ``testing`` (lupa).
"""
