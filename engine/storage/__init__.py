"""Where bytes lie: the one door through which files that somebody else named or made are opened."""
