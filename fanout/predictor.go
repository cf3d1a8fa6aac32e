package fanout

// predictor guesses of a key whether somebody waits for its next event: as for the
// last one. Looking keys up takes a processor that has slept microseconds, most of it
// for the memory of watchers that nobody waits for; a guess takes a look at two
// kilobytes. A wrong one changes the order among watchers and nothing else.
//
// It is a table of one bit a key, picked by the key's hash and shared by those that meet
// there, as in a branch predictor (Smith, 1981). Only the dispatcher's goroutine uses it.
type predictor [predictorBits / 64]uint64

const predictorBits = 1 << 14 // a power of two

func (p *predictor) place(hash uintptr) (word *uint64, bit uint64) {
	// Shards and buckets of the index are picked by its lowest and highest bits;
	// any will do here but the lowest, which is always set.
	i := hash >> 1 % predictorBits
	return &p[i/64], 1 << (i % 64)
}

func (p *predictor) waits(hash uintptr) bool {
	word, bit := p.place(hash)
	return *word&bit != 0
}

func (p *predictor) learn(hash uintptr, waited bool) {
	word, bit := p.place(hash)
	if waited {
		*word |= bit
	} else {
		*word &^= bit
	}
}
