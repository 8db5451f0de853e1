print("petar-describe")
