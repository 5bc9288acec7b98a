"""`python -m tests.fuzz`."""

from .run import main

raise SystemExit(main())
