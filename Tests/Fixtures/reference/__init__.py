"""The independent reference: what the library's results are compared with. Nothing here ships."""
