package queue

import (
	"context"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// pokeTime bounds how long a poke that got lost keeps others away.
const pokeTime = 5 * time.Second

// Poke asks the workers to send the pending deliveries of targets. It is called after the commit that stored them. A
// target that was poked a moment ago, and whose task has not looked into the database since, needs no second task.
func (q *Queue) Poke(ctx context.Context, targets []int64) {
	if len(targets) > 0 {
		q.noteSingle()
	}
	q.poke(ctx, targets, Drains)
}

// PokeBulk is Poke for deliveries of an import, and for those that the sweep found: it keeps no single event waiting.
func (q *Queue) PokeBulk(ctx context.Context, targets []int64) {
	q.poke(ctx, targets, BulkDrains)
}

// PokeAgain is Poke, or PokeBulk, for a target whose drain makes way for others, and for which nothing new has come.
func (q *Queue) PokeAgain(ctx context.Context, target int64, bulk bool) {
	queue := Drains
	if bulk {
		queue = BulkDrains
	}
	q.poke(ctx, []int64{target}, queue)
}

func (q *Queue) poke(ctx context.Context, targets []int64, queue string) {
	if len(targets) == 0 || q.resting() || !q.Room(queue) {
		return
	}
	q.enqueue(ctx, drains(q.reserve(ctx, targets, queue, pokeTime), queue), queue)
}

// reserve keeps other pokes of targets away for d, and returns the targets that nobody has poked.
func (q *Queue) reserve(ctx context.Context, targets []int64, queue string, d time.Duration) (reserved []int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EnqueueTime)
	defer cancel()
	set := make([]*redis.BoolCmd, len(targets))
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range targets {
			set[i] = p.SetNX(ctx, pokeKey(queue, id), 1, d)
		}
		return nil
	})
	if err != nil {
		q.Note(err)
		return nil
	}
	for i, id := range targets {
		if set[i].Val() {
			reserved = append(reserved, id)
		}
	}
	return reserved
}

func drains(targets []int64, queue string) []*asynq.Task {
	tasks := make([]*asynq.Task, len(targets))
	for i, id := range targets {
		tasks[i] = newTask(TypeTargetDrain, DrainTask{TargetID: id}, queue, TaskTime)
	}
	return tasks
}

// ReserveBulk keeps other bulk pokes of targets away for d, and returns the targets that the caller must poke with
// PokeReserved within d. The other targets have a task already, or Redis does not answer.
func (q *Queue) ReserveBulk(ctx context.Context, targets []int64, d time.Duration) (reserved []int64) {
	if len(targets) == 0 || q.resting() {
		return nil
	}
	return q.reserve(ctx, targets, BulkDrains, d)
}

// PokeReserved is PokeBulk for targets that ReserveBulk returned.
func (q *Queue) PokeReserved(ctx context.Context, targets []int64) {
	if len(targets) == 0 || q.resting() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EnqueueTime)
	defer cancel()
	room := q.Room(BulkDrains)
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range targets {
			if room {
				p.Set(ctx, pokeKey(BulkDrains, id), 1, pokeTime)
			} else {
				p.Del(ctx, pokeKey(BulkDrains, id)) // the sweep comes to it
			}
		}
		return nil
	})
	if err != nil {
		q.Note(err)
		return
	}
	if room {
		q.enqueue(ctx, drains(targets, BulkDrains), BulkDrains)
	}
}

// Unpoke lets the next Poke of a target through; a drain calls it before it looks into the database.
func (q *Queue) Unpoke(ctx context.Context, target int64) error {
	ctx, cancel := context.WithTimeout(ctx, EnqueueTime)
	defer cancel()
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, pokeKey(Drains, target))
		p.Del(ctx, pokeKey(BulkDrains, target))
		return nil
	})
	return err
}

// HoldPokes keeps pokes of a target away for d. Its caller must call Unpoke and then look into the database; should the
// process be lost before, the sweep looks.
func (q *Queue) HoldPokes(ctx context.Context, target int64, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, EnqueueTime)
	defer cancel()
	_, err := q.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, pokeKey(Drains, target), 1, d)
		p.Set(ctx, pokeKey(BulkDrains, target), 1, d)
		return nil
	})
	return err
}

// pokeKey differs by queue: a task that waits behind those of an import keeps no poke of a single event away.
func pokeKey(queue string, target int64) string {
	return "tocsin:poke:" + queue + ":" + strconv.FormatInt(target, 10)
}
