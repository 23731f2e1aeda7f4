"""asyncio.Protocol classes and timers: the only code that touches a transport."""
