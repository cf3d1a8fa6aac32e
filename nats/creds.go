package nats

import (
	"fmt"
	"os"

	"github.com/nats-io/nkeys"
)

// CheckCreds returns an error if the file does not hold the credentials of a user, as
// [nats.UserCredentials] needs them: that reads it only when it connects, and does not say
// which file it was.
func CheckCreds(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err = nkeys.ParseDecoratedJWT(data); err == nil {
		_, err = nkeys.ParseDecoratedUserNKey(data)
	}
	if err != nil {
		return fmt.Errorf("%s holds no JWT and key of a user, as nsc writes them", path)
	}
	return nil
}
