"""What carries out stages: work folder, journal, processes, memory and disk, output."""
