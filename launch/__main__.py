"""`python -m detox.launch` is `detox-ps`."""

from detox.launch.main import main

main()
