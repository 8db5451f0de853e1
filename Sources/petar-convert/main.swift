print("petar-convert")
