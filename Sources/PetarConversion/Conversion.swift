import Petar
