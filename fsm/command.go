package fsm

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// CommandOp says what a [Command] does. The numbers are those in the log.
type CommandOp uint8

const (
	// CommandInit sets the constants of the cluster, once: the first one
	// counts, and the next is answered without an error, because two leaders
	// may both have proposed it. It makes no event.
	CommandInit CommandOp = 1
	// CommandPut sets the value of a key.
	CommandPut CommandOp = 2
	// CommandDelete removes a key; [ErrNotFound] if there is none.
	CommandDelete CommandOp = 3
	// CommandBatch carries out several puts and deletes of different keys, all
	// or none.
	CommandBatch CommandOp = 4
	// CommandExpire moves the cluster's time to its Stamp and removes keys whose
	// time to live has passed: the first MaxBatch at most, in the order of their
	// deadlines and then of keys. There may be none.
	CommandExpire CommandOp = 5
)

// Bounds of [Cluster].
const (
	MaxClusterIDBytes = 256
	// MaxValueLimit is the highest Cluster.MaxValueBytes. Raft sends log
	// entries, and NATS messages, in one piece.
	MaxValueLimit = 64 << 20
)

// Cluster holds the constants of a cluster, set by its Init command.
type Cluster struct {
	// ID tells this cluster from any other; 1 to MaxClusterIDBytes bytes.
	ID string
	// MaxValueBytes is the longest value, in bytes; 1 to MaxValueLimit.
	MaxValueBytes int
}

func newCluster(id []byte, maxValueBytes uint64) (Cluster, error) {
	switch {
	case len(id) == 0 || len(id) > MaxClusterIDBytes:
		return Cluster{}, fmt.Errorf("the cluster's id has %d bytes; give 1 to %d", len(id), MaxClusterIDBytes)
	case maxValueBytes == 0 || maxValueBytes > MaxValueLimit:
		return Cluster{}, fmt.Errorf("the cluster's longest value is %d bytes; give 1 to %d", maxValueBytes, MaxValueLimit)
	}
	return Cluster{ID: string(id), MaxValueBytes: int(maxValueBytes)}, nil
}

// Command is one entry of the log: what a leader proposes and every replica
// applies.
type Command struct {
	Op CommandOp
	// Key, for put and delete.
	Key string
	// Value, for put.
	Value []byte
	// IfRevision makes a put or delete conditional: the key must be at this
	// revision, 0 meaning that it must not exist. Nil: no condition.
	IfRevision *uint64
	// TTL, for put, is how long the key lives, 1 ns to MaxTTL; 0: until it is
	// deleted. It needs a Stamp.
	TTL time.Duration
	// Stamp is when the leader proposed the command. Expire needs one, and what
	// has a TTL or a RequestID; in a batch it is the batch's. Others have none.
	Stamp Stamp
	// RequestID, for put, delete and batch, makes it safe to repeat: of all
	// commands with the same id, the first one counts, and the others are answered
	// as that one was. Empty: none. At most MaxRequestIDBytes.
	RequestID string
	// Cluster, for init.
	Cluster Cluster
	// Batch, for batch: puts and deletes, 1 to MaxBatch, each key once. Their
	// conditions are all of the state before the batch.
	Batch []Command
}

// The encoding: the version, one byte, and then a message in the protobuf wire
// format with these fields, in ascending order.
//
//	1  op          varint  init 1, put 2, delete 3, batch 4, expire 5
//	2  key         bytes   put, delete
//	3  value       bytes   put; may be empty
//	4  if revision varint  put, delete; optional
//	5  cluster id  bytes   init
//	6  max value   varint  init
//	7  batch       bytes   batch; for each command in it, a varint with the
//	                       length of its message, and the message
//	8  term        varint  of the stamp: expire, and what has 10 or 11; not 0
//	9  time        varint  of the stamp, nanoseconds; with 8
//	10 ttl         varint  put, nanoseconds, not 0; optional
//	11 request id  bytes   put, delete, batch, not empty; optional
const commandVersion = 1

const (
	fieldOp         protowire.Number = 1
	fieldKey        protowire.Number = 2
	fieldValue      protowire.Number = 3
	fieldIfRevision protowire.Number = 4
	fieldClusterID  protowire.Number = 5
	fieldMaxValue   protowire.Number = 6
	fieldBatch      protowire.Number = 7
	fieldTerm       protowire.Number = 8
	fieldTime       protowire.Number = 9
	fieldTTL        protowire.Number = 10
	fieldRequestID  protowire.Number = 11
)

// stamped are the fields of a command that may be stamped, and repeated.
var stamped = setOf(fieldTerm, fieldTime, fieldRequestID)

// commandFields says which fields belong to an operation.
var commandFields = [...]struct{ required, optional fieldSet }{
	CommandInit:   {setOf(fieldOp, fieldClusterID, fieldMaxValue), 0},
	CommandPut:    {setOf(fieldOp, fieldKey, fieldValue), setOf(fieldIfRevision, fieldTTL) | stamped},
	CommandDelete: {setOf(fieldOp, fieldKey), setOf(fieldIfRevision) | stamped},
	CommandBatch:  {setOf(fieldOp, fieldBatch), stamped},
	CommandExpire: {setOf(fieldOp, fieldTerm, fieldTime), 0},
}

// Append appends the encoded command to dst and returns it. Fields that do not
// belong to the operation are left out. It does not check anything: what is
// wrong with a command, a replica says when it applies it.
func (c Command) Append(dst []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, c.room())
	}
	return c.appendMessage(append(dst, commandVersion))
}

// room is what a put or delete takes encoded, version included, so that it is allocated
// once; of others, the less.
func (c *Command) room() int {
	const versionAndOp = 3
	n := versionAndOp + sizeBytes(fieldKey, len(c.Key)) + sizeBytes(fieldRequestID, len(c.RequestID))
	if c.Op == CommandPut {
		n += sizeBytes(fieldValue, len(c.Value)) + sizeUint(fieldTTL, uint64(c.TTL))
	}
	if c.IfRevision != nil {
		n += sizeUint(fieldIfRevision, *c.IfRevision)
	}
	if c.Stamp.Term != 0 {
		n += sizeUint(fieldTerm, c.Stamp.Term) + sizeUint(fieldTime, uint64(c.Stamp.Time))
	}
	return n
}

func (c Command) appendMessage(dst []byte) []byte {
	dst = appendUint(dst, fieldOp, uint64(c.Op))
	switch c.Op {
	case CommandInit:
		dst = appendBytes(dst, fieldClusterID, c.Cluster.ID)
		return appendUint(dst, fieldMaxValue, uint64(c.Cluster.MaxValueBytes))
	case CommandPut:
		dst = appendBytes(dst, fieldKey, c.Key)
		dst = appendBytes(dst, fieldValue, c.Value)
	case CommandDelete:
		dst = appendBytes(dst, fieldKey, c.Key)
	case CommandBatch:
		dst = appendBytes(dst, fieldBatch, appendBatch(c.Batch))
	}
	if c.IfRevision != nil && c.Op.inBatch() {
		dst = appendUint(dst, fieldIfRevision, *c.IfRevision)
	}
	if c.Stamp.Term != 0 {
		dst = appendUint(dst, fieldTerm, c.Stamp.Term)
		dst = appendUint(dst, fieldTime, uint64(c.Stamp.Time))
	}
	if c.TTL != 0 && c.Op == CommandPut {
		dst = appendUint(dst, fieldTTL, uint64(c.TTL))
	}
	if c.RequestID != "" && c.Op != CommandExpire {
		dst = appendBytes(dst, fieldRequestID, c.RequestID)
	}
	return dst
}

// ParseCommand is the inverse of [Command.Append]. It accepts exactly what
// Append makes of a command with a known operation, valid Cluster, Stamp, TTL and
// RequestID, and at most MaxBatch puts and deletes in Batch, whatever the keys and
// the values; the error for anything else wraps [ErrBadCommand]. The command's Value
// is a part of data, not a copy.
func ParseCommand(data []byte) (Command, error) {
	var c Command
	if err := c.parse(data); err != nil {
		return Command{}, err
	}
	return c, nil
}

// parse sets c, which is zero, to what data encodes.
func (c *Command) parse(data []byte) error {
	err := c.parseVersion(data)
	if err == nil {
		err = c.checkStamp()
	}
	if err != nil {
		return fmt.Errorf("%w: %v", ErrBadCommand, err)
	}
	return nil
}

func (c *Command) parseVersion(data []byte) error {
	if len(data) == 0 {
		return errors.New("it is empty")
	}
	if data[0] != commandVersion {
		return fmt.Errorf("its version is %d; this program knows %d", data[0], commandVersion)
	}
	return c.parseMessage(data[1:])
}

func (c *Command) parseMessage(data []byte) error {
	var (
		op, revision, limit uint64
		id, batch           []byte
		err                 error
	)
	f := readFields(data)
	for f.next() {
		switch f.num {
		case fieldOp:
			op = f.uint()
		case fieldKey:
			c.Key = string(f.bytes())
		case fieldValue:
			c.Value = f.bytes()
		case fieldIfRevision:
			revision = f.uint()
		case fieldClusterID:
			id = f.bytes()
		case fieldMaxValue:
			limit = f.uint()
		case fieldBatch:
			batch = f.bytes()
		case fieldTerm:
			c.Stamp.Term = f.uint()
		case fieldTime:
			c.Stamp.Time = time.Duration(f.uint())
		case fieldTTL:
			c.TTL = time.Duration(f.uint())
		case fieldRequestID:
			c.RequestID = string(f.bytes())
		default:
			f.unknown()
		}
	}
	if f.err != nil {
		return f.err
	}
	if op == 0 || op >= uint64(len(commandFields)) {
		return fmt.Errorf("operation %d is unknown", op)
	}
	c.Op = CommandOp(op)
	if err := f.finish(commandFields[op].required, commandFields[op].optional); err != nil {
		return err
	}
	if f.seen.has(fieldIfRevision) {
		c.IfRevision = new(revision)
	}
	switch c.Op {
	case CommandInit:
		c.Cluster, err = newCluster(id, limit)
	case CommandBatch:
		c.Batch, err = parseBatch(batch)
	}
	if err != nil {
		return err
	}
	return c.checkTimes(f.seen)
}
