"""Files of every format, damaged at random: read as another reader reads them, or refused."""
