"""The world, real: the contracts of `drivers/` on Linux. Look for a contract's name once more here. Only the command line imports this."""
