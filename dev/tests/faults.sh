#!/bin/sh
# faults.sh [PATTERN]: plants one fault after the other in a copy of the tree; the named test must go red each time.
# A fault that changes nothing or does not compile counts as failed, like one that no test notices.
# PATTERN: only the rows that contain it. Takes about 10 minutes.
pattern=${1:-}
tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT
trap 'exit 1' HUP INT TERM
git ls-files -co --exclude-standard | while IFS= read -r file; do
    [ -f "$file" ] && printf '%s\n' "$file"
done | tar cf - -T - | tar xf - -C "$tree" || exit 1
cd "$tree" || exit 1
export OMP_NUM_THREADS=1 CUDA_ON_CPU_ORDER=random CUDA_ON_CPU_SEED=1
passed=0 failed=0
models="dev/tests/reference_llama.safetensors dev/tests/reference_track3.safetensors
    dev/tests/reference_modern.safetensors dev/tests/reference_modula.safetensors dev/tests/reference_odd.safetensors dev/tests/reference_steps.safetensors"

# Builds and runs a test: `gpt`, `gpt-llmc` (against llm.c's files), the name of a program of dev/tests, which `:` and a
# part of its cases' names may follow, `cli:` and a part of the names of its tests, or the CUDA twin on the CPU against
# references, or its optimizers against the judges, `experiments:` and a part of the names of dev/experiments' tests, or `emulated:` and a program of dev/tests that can run on its verbs,
# or several ranks of it, or `emulated-cli:` and a part of the names of the command's tests.
# Status 9: it does not build.
check() {
    case $1 in
    gpt)
        make -s CUDA=no test_gpt_cpu > build.log 2>&1 || return 9
        set -- ./test_gpt_cpu dev/tests/reference_tiny.safetensors $models ;;
    gpt-llmc)
        make -s CUDA=no test_gpt_cpu > build.log 2>&1 || return 9
        set -- ./test_gpt_cpu --llmc dev/tests/llmc_model.bin dev/tests/llmc_state.bin ;;
    emulated)
        make -s CUDA=no build/emulated/test_gpt_cuda build/write_reference > build.log 2>&1 &&
            build/write_reference build/odd.safetensors 2 5 160 301 37 8 &&
            build/write_reference build/few.safetensors 1 2 16 3 40 6 &&
            build/write_reference build/rows.safetensors 1 1 8 5 65 64 &&
            build/write_reference build/vocab.safetensors 1 1 8 5003 3 1 || return 9
        set -- build/emulated/test_gpt_cuda dev/tests/reference_tiny.safetensors dev/tests/reference_gelu.safetensors \
            dev/tests/reference_relu2.safetensors dev/tests/reference_silu.safetensors build/odd.safetensors \
            build/few.safetensors build/rows.safetensors build/vocab.safetensors $models ;;
    emulated-bf16)
        make -s CUDA=no build/emulated/test_gpt_cuda > build.log 2>&1 || return 9
        set -- build/emulated/test_gpt_cuda --dtype bf16 dev/tests/reference_bf16.safetensors ;;
    emulated-old) # a GPU on which logits are read twice
        make -s CUDA=no build/emulated/test_gpt_cuda > build.log 2>&1 || return 9
        set -- env CUDA_ON_CPU_CAPABILITY=7.5 build/emulated/test_gpt_cuda dev/tests/reference_tiny.safetensors ;;
    emulated-plain) # cuBLASLt supports no epilogue
        make -s CUDA=no build/emulated/test_gpt_cuda > build.log 2>&1 || return 9
        set -- env CUDA_ON_CPU_CUBLAS=plain build/emulated/test_gpt_cuda dev/tests/reference_tiny.safetensors ;;
    emulated-products)
        make -s CUDA=no build/emulated/test_products > build.log 2>&1 || return 9
        set -- env CUDA_ON_CPU_CUBLAS=varied build/emulated/test_products 8 ;;
    emulated-large)
        make -s CUDA=no build/emulated/test_large > build.log 2>&1 || return 9
        set -- build/emulated/test_large 3 4 256 1031 80 1 ;;
    emulated-checks)
        make -s CUDA=no build/emulated/test_checks > build.log 2>&1 || return 9
        set -- build/emulated/test_checks ;;
    emulated-flash)
        make -s CUDA=no build/emulated/test_flash > build.log 2>&1 || return 9
        set -- build/emulated/test_flash ;;
    emulated-judges)
        make -s CUDA=no build/emulated/test_judges > build.log 2>&1 || return 9
        set -- build/emulated/test_judges ;;
    emulated:*) # the same test on the CUDA verbs
        make -s CUDA=no "build/emulated/test_${1#*:}" > build.log 2>&1 || return 9
        set -- "build/emulated/test_${1#*:}" ;;
    emulated-ranks)
        make -s CUDA=no build/emulated/train_gpt_cuda > build.log 2>&1 || return 9
        set -- env DEVICE=cuda CUDA_ON_CPU_STREAMS=lazy dev/tests/cli.sh build/emulated/train_gpt_cuda \
            "ranks: the same bits, --optimizer soap" ;;
    emulated-cli:*)
        make -s CUDA=no build/emulated/train_gpt_cuda build/harness build/failing.so > build.log 2>&1 || return 9
        set -- env DEVICE=cuda dev/tests/cli.sh build/emulated/train_gpt_cuda "${1#*:}" ;;
    cli:*)
        make -s CUDA=no all convert_llmc build/harness build/failing.so > build.log 2>&1 || return 9
        set -- dev/tests/cli.sh ./train_gpt "${1#cli:}" ;;
    experiments:*)
        make -s CUDA=no train_gpt_cpu > build.log 2>&1 || return 9
        set -- dev/tests/experiments.sh ./train_gpt_cpu "${1#*:}" ;;
    *)
        make -s CUDA=no "build/tests/test_${1%%:*}" > build.log 2>&1 || return 9
        case $1 in
        *:*) set -- env CHECK_ONLY="${1#*:}" "build/tests/test_${1%%:*}" ;;
        *) set -- "build/tests/test_$1" ;;
        esac ;;
    esac
    # a fault may also make a test hang
    if command -v timeout > /dev/null; then
        set -- timeout 300 "$@"
    fi
    "$@" > test.log 2>&1
}

noticed() { # test, file, sed expression
    cp "$2" original
    sed "$3" original > "$2"
    if cmp -s original "$2"; then
        why="the expression changes nothing"
    else
        check "$1"
        case $? in
        0) why="$1 stays green" ;;
        9) why="it does not build: $(grep -m 1 error build.log)" ;;
        *) why= ;;
        esac
    fi
    cat original > "$2"
    [ -z "$why" ]
}

# Test | file | sed expression. Neighbours share a file, which is then compiled once a row.
cat > table <<'TABLE'
gpt | train_gpt.c | s/+= w->wpe\[(position/+= 0.999f * w->wpe[(position/
gpt | train_gpt.c | s/wpe\[(position + r % T) \* C/wpe[(position + (r + 1) % T) * C/
gpt | train_gpt.c | s/token\[i\] += dout\[r \* C + i0 + i\]/token[i] = dout[r * C + i0 + i]/
gpt | train_gpt.c | s/place\[i\] += dout\[(b \* T + t) \* C + i\]/place[i] += dout[t * C + i]/
gpt | train_gpt.c | s/inverse_C + norm.eps/inverse_C + 1e-3f/
gpt | train_gpt.c | s/(xr\[i\] - m) \* s \* gain\[i\] + bias\[i\]/(xr[i] - m) * s * gain[i]/
gpt | train_gpt.c | s/- xhat \* mean_d_xhat/- 0 * mean_d_xhat/
gpt | train_gpt.c | s/(d - mean_d - xhat/(d - 0 * mean_d - xhat/
gpt | train_gpt.c | s/gain_sum\[i\] += dout_r\[i\] \* xhat/gain_sum[i] += d * xhat/
gpt | train_gpt.c | s/bias_sum\[i\] += dout_r\[i\]/bias_sum[i] += d/
gpt | gpt/gpt.h | s/GPT_GELU_CUBE 0.044715f/GPT_GELU_CUBE 0.0444f/
gpt | train_gpt.c | s/(1.0f - t \* t)/(1.0f - t)/
gpt | train_gpt.c | s/norm.centred ? C : 0/C/
gpt | train_gpt.c | s/mean_d = norm.centred ? sum_d \* inverse_C : 0/mean_d = sum_d * inverse_C/
gpt | train_gpt.c | s/back ? -rotary\[2 \* i + 1\]/back ? rotary[2 * i + 1]/
gpt | train_gpt.c | s/rotary_at(g, position + r % T)/rotary_at(g, r % T)/
gpt | train_gpt.c | s/squares \/ (float)HS + eps/squares \/ (float)HS/
gpt | train_gpt.c | s/dx\[i\] \* gain\[i\] - hat\[i\] \* (sum/dx[i] * gain[i] - 0 * hat[i] * (sum/
gpt | train_gpt.c | s/h < g->config.NH ? w->qgain : w->kgain/w->qgain/
gpt | train_gpt.c | s/h \/ (c->NH \/ c->KVH) \* HS/h % c->KVH * HS/
gpt | train_gpt.c | s/keys == T \&\& first_head/keys == T/
gpt | train_gpt.c | s/if (h == 0)$/if (0)/
gpt | train_gpt.c | s/d\[i\] \*= up\[i\];//
gpt | train_gpt.c | s/slopes\[i\] = 1.0f - t \* t/slopes[i] = 1.0f/
gpt | train_gpt.c | s/slopes\[i\] = share \* root/slopes[i] = share/
gpt | train_gpt.c | s/bias_backward(dw.headb, .*;//
gpt | train_gpt.c | s/if (first \&\& c->head != GPT_TIED)/if (0)/
gpt | train_gpt.c | s/norm_of(g, w.embedw, w.embedb), R, C, first/norm_of(g, w.lnfw, w.lnfb), R, C, first/
gpt | gpt/gpt_table.c | s/return (double)i >= turned/return (double)i > turned/
gradients | train_gpt.c | s/const float factor = (float)c->value_scale/const float factor = 1/
gradients | train_gpt.c | s/drop_rows(g, g->dresidual, g->dresidual, 0, DROPOUT_EMBEDDING)/(void)0/
gradients | train_gpt.c | s/query + i, 0, ds_i, visible/query + i + 1, 0, ds_i, visible/
gradients | train_gpt.c | s/drops ? &mlp : NULL/drops ? \&attproj : NULL/
gradients | train_gpt.c | s/dattproj = branch_gradient(g, layer, DROPOUT_ATTPROJ)/dattproj = g->dresidual/
dropout | train_gpt.c | s/(size_t)g->dropout.first_sequence \* rows/0/
dropout | gpt/dropout.h | s/layer \* DROPOUT_SITES/layer/
dropout | gpt/dropout.h | s/first_row + row + 1/first_row + 1/
cli:pages: the text | dev/pages/page.py | s/check and self.text != self.before/False/
cli:pages: the text | dev/lab/README.md | s/theory 0.00183/theory 0.00193/
cli:--dropout in training | train/run.c | s/gpt_dropout(r->gpt, (GptDropout){0});//
cli:--first-batch | train/plan.c | s/first \* (1 + (all/first * (2 + (all/
cli:--aux-cooldown-power | train/plan.c | s/aux->power = o->aux_power;//
gpt2_pattern | data/gpt2_pattern.c | s/BLOCK - 4 /BLOCK - 2 /
gpt2_pattern | data/gpt2_pattern.c | s/low_bits(KNOWN + 1)/low_bits(KNOWN)/
gpt2_pattern | data/gpt2_pattern.c | s/piece + 1 == at + known ? piece : at + known/at + known/
gpt2_pattern | data/gpt2_pattern.c | s/starts |= fresh;//
gpt2_pattern | data/gpt2_pattern.c | s/next == end || last == at/last == at/
gpt2_pattern | data/gpt2_pattern.c | s/ends_in_space(text, text + at)/false/
gpt2_pattern | data/unicode_classes.h | s/0x32400/0x30000/
bpe | data/bpe.c | s/ranks\[i\] < ranks\[best\]/ranks[i] <= ranks[best]/
bpe | data/bpe.c | s/(uint64_t)rank << 32 | at);/(uint64_t)rank << 32 | (l->n - at));/
bpe | data/bpe.c | s/rank_at(&l, at) == rank/true/
tokenizer | data/encoder.c | s/ | (uint64_t)size << 56//
tokenizer | data/encoder.c | s/encoder->slots_used = encoder->memory_used = 0/encoder->slots_used = 0/
tokenizer | data/tokenizer_files.c | s/if (t->tokens\[id\].size > 0)/if (false)/
tokenizer | data/tokenizer_files.c | s/return check_made(m, e);/return 0;/
tokenizer | data/tokenizer_files.c | s/if (left != 2)/if (left < 2)/
cli:tokenize --val-tail | base/text.c | s/((unsigned char)byte \& 0xc0) != 0x80/true/
cli:tokenize makes a shard | data/tokenize_encode.c | s/size, false, \&w->tokens/size, true, \&w->tokens/
cli:tokenize reads texts | data/tokenize_reader.c | s/size < HASHED ? size : HASHED/size < 8 ? size : 8/
cli:tokenize reads texts | data/tokenize_stream.c | s/s->inside = status != Z_STREAM_END/s->inside = true/
cli:tokenize refuses gzip | data/tokenize_stream.c | s/return error_set(e, "%s: ends early: it is truncated", s->path)/return 0/
cli:tokenize cuts shards | data/tokenize_shards.c | s/s->most - s->tokens < n ?/s->most < n ?/
cli:tokenize does not depend | data/tokenize_reader.c | s/const size_t n = gpt2_cut(text, r->next_part);/const size_t n = r->next_part - 1;/
cli:tokenize goes on after kill -9 | data/tokenize_shards.c | s/fseek(s->stream, 0, SEEK_END)/fseek(s->stream, 1024, SEEK_SET)/
cli:tokenize goes on after kill -9 | data/tokenize_journal.c | s/json_bool(json_get(json, "inside"), \&at->inside)/true/
cli:tokenize refuses another | data/tokenize_journal.c | s/ || sample != source->sample//
cli:data/get tokenizer | data/get | s|^host=${host:-.*||
json | files/json.c | s/    p->replaced++;/    p->replaced = 1;/
cli:tokenize takes escapes | files/json.c | s/        p->at = second;.*//
cli:tokenize takes escapes | data/tokenize_encode.c | s/out->replaced = value->count/out->replaced = 5/
cli:tokenize takes escapes | data/tokenize_reader.c | s/r->at.offset == 0 ? mark_size/r->at.offset == 1 ? mark_size/
choices | data/choices.c | s/if (count < 0)/if (false)/
choices | files/json.c | s/if (p->one_line)/if (false)/
cli:tokenize locks | files/files.c | s/return flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;/return true;/
cli:tokenize locks | files/files.c | s/        unlink(path);$/        (void)path;/
cli:tokenize replaces no shard | data/tokenize_shards.c | s/files_rename_new(from, to, e)/rename(from, to)/
cli:tokenize replaces no shard | data/tokenize_shards.c | s/found.st_size != size) \/\*/found.st_size < 0) \/*/
cli:tokenize writes a manifest | data/tokenize_journal.c | s/strncmp(name + length, "_train_", 7) == 0/false/
cli:tokenize writes a manifest | data/tokenize_journal.c | s/(size_t)found.st_size != shards_bytes(tokens)/false/
cli:tokenize writes a manifest | data/tokenize_journal.c | s/status = remove_journal(run, e);/status = 0;/
cli:tokenize says where nothing | data/tokenize_run.c | s/else if (run->split.fraction > 0)/else if (false)/
cli:tokenize ends its line | data/tokenize_run.c | s/    else if (p.drawn)/    else if (false)/
files | files/files.c | s/, RENAME_NOREPLACE)/, 0)/
files | files/files.c | s/return flock(fd, LOCK_EX | LOCK_NB) == 0 ||/return flock(fd, LOCK_EX | LOCK_NB) >= -1 ||/
cli:tokenize goes on after Ctrl-C | data/tokenize_run.c | s/const bool stopped = \*stop != 0;/const bool stopped = false;/
families | train/families.c | s/n < 3 ? whole/n < 2 ? whole/
families | train/families.c | s/same = strcmp(want, got) == 0/same = true/
families | train/families.c | s/part->offset += at;//
families | train/families.c | s/type != NULL .. strcmp(shown(type, is), .*) != 0/false/
families | train/families.c | s/size != (double)gpt_head_size(c))$/0)/
model | gpt/gpt_table.c | s/DRAW_UNIFORM ? sqrt(3)/DRAW_UNIFORM ? 3/
model | gpt/gpt_table.c | s/rms \* sqrt((double)cols \/ squares)/rms/
model | gpt/gpt_table.c | s/orthogonalise(x + b \* n, rows/orthogonalise(x, rows/
model | gpt/gpt_table.c | s/t->init.std \* sqrt((double)rows \/ (double)cols)/t->init.std/
model | gpt/gpt_table.c | s/qr(q, longer, shorter, /qr(q, longer, shorter - 1, /
tasks | train/tasks.c | s/begin + k + 1 >= row->context/begin + k >= row->context/
tasks | train/tasks.c | s/const double mean = s\[k\] \/ (double)targets_of(&rows\[k\], T);/const double mean = s[k];/
tasks | train/tasks.c | s/begin = row->length - 1 - inputs;/begin = 0;/
tasks | train/tasks.c | s/loss_tables_add(count->tables, i % T,/loss_tables_add(count->tables, i % (T - 1),/
tasks | train/tasks.c | s/count.sum \/ log(2) \/ (double)count.bytes/count.sum \/ log(2) \/ (double)targets \/ 2/
tasks | train/loss_tables.c | s/for (; count > 0; count \/= 2)/for (; count > 1; count \/= 2)/
tasks | train/loss_tables.c | s/classes\[class\].count += t->tokens\[i\].count/classes[class].count += 1/
choices | data/choices.c | s/spaced\[0\] = ' ';/spaced[0] = '_';/
choices | data/choices.c | s/label >= endings->count/label > endings->count/
choices | data/choices.c | s/at == size ? 0/at <= size ? 0/
tokenizer_write | data/tokenizer_write.c | s/byte == 0xad ? 0x143u/byte == 0xad ? 0x142u/
tokenizer_write | data/tokenizer_write.c | s/json && (code == '"'/json \&\& (code == '!'/
cli:evaluations of a resumed | train/vocabulary.c | s/weights != NULL .. has_tables(weights, notes)/weights != NULL \&\& !o->resume \&\& has_tables(weights, notes)/
cli:evaluations of a resumed | train/run.c | s/metrics_drop_later(path, EVALS_HEADER, "", r->state.step, &kept, e) != 0/false/
cli:somebody | train/checkpoint.c | s/const Tokenizer .tables = .*;/const Tokenizer *tables = NULL;/
cli:cut alike | train/corpus.c | s/characters \/ 10 \* 9 +/characters \/ 10 * 8 +/
cli:checkpoint's tokenizer | train/checkpoint.c | s/        status = check_tokenizer(dir, state, e);/        status = 0;/
cli:checkpoint's tokenizer | train/vocabulary.c | s/return asked ? check_same/return false ? check_same/
cli:checkpoint's tokenizer | train/corpus.c | s/tokens_check_text(path, &size, e) != 0 || //
cli:run owes | train/run.c | s/ .. !validation_due(r) .. !tasks_due(r, true)))/ \&\& !validation_due(r)))/
model | gpt/gpt_init.c | s/\.std = 1.0 \/ 3/.std = 1/
model | gpt/gpt_init.c | s/share \/ 1.1289/share/
model | gpt/gpt_init.c | s/1 \/ (2 \* (double)c->L)/1.0 \/ 8/
model | gpt/gpt_config.c | s/c->norm == GPT_NORM_NONE \&\& c->embed_norm/0 \&\& c->embed_norm/
families | gpt/gpt_config.c | s/if (gpt_normalises(\&c) \&\& c.norm_eps == 0)/if (c.norm_eps == 0)/
model | gpt/gpt_init.c | s/s->fcproj \* s->std \/ sqrt((double)c->F)/s->fcproj * usual/
gradients | train_gpt.c | s/x < 0.0f ? 0.0f : 2.0f \* x/2.0f * x/
gradients | train_gpt.c | s/s \* (1.0f + x \* (1.0f - s))/s * (1.0f + x)/
gradients | train_gpt.c | s/GPT_NORMAL_DENSITY \* vexpf(-0.5f/GPT_NORMAL_DENSITY * vexpf(-0.4f/
vmath | gpt/vmath.h | s/-5.66015302e-4f/-5.65e-4f/
vmath | gpt/vmath.h | s/t < 1.0f ? small : large/t < 1.2f ? small : large/
gpt | train_gpt.c | s/3.0f \* GPT_GELU_CUBE/2.0f * GPT_GELU_CUBE/
gpt | train_gpt.c | s/function##_slope(fc\[i\])/function##_slope(0.99f * fc[i])/
gpt | train_gpt.c | s/product(rows, C, OC, 1, stored/product(rows, C, OC, 1.01f, stored/
gpt | train_gpt.c | s/product(OC, C, rows, 1, /product(OC, C, rows, 1.01f, /
gpt | train_gpt.c | s/sum\[i\] += dout\[r \* ld + i\]/sum[i] = dout[r * ld + i]/
gpt | train_gpt.c | s/add(out, 1, ep->bias + o0, cols)/add(out, 1, ep->bias + o0, cols - 1)/
gradients | train_gpt.c | s/add(out, 1, ep->bias + o0, cols)/add(out, 1, ep->bias, cols)/
gpt | train_gpt.c | s/add(out, ep->residual_scale, ep->residual + r \* ep->ld + o0, cols)/(void)0/
gpt | train_gpt.c | s/add(out, ep->residual_scale, /add(out, 1, /
gpt | train_gpt.c | s/\.residual = a\.residual_mid,/.residual = a.residual,/
gpt | train_gpt.c | s/const float factor = (float)g->config.residual_scale/const float factor = 1/
gradients | train_gpt.c | s/memcpy(out_r, xr, C \* sizeof \*out_r)/memcpy(out_r, xr, (C - 1) * sizeof *out_r)/
gradients | train_gpt.c | s/add(dxr, 1, dout_r, C)/add(dxr, 2, dout_r, C)/
gradients | train_gpt.c | s/g->dresidual\[i\] \*= factor;/g->dresidual[i] += factor;/
gpt | train_gpt.c | s/dxr\[i\] += s \* (d/dxr[i] = s * (d/
gpt | train_gpt.c | s/.scale = (float)c->attention_scale/.scale = 1.01f * (float)c->attention_scale/
gpt | train_gpt.c | s/visible = query + i + 1/visible = keys/
gpt | train_gpt.c | s/maximum + logf(sum)/maximum/
gpt | train_gpt.c | s/p_i\[j\] \* (ds_i\[j\] - dot)/p_i[j] * ds_i[j]/
gpt | train_gpt.c | s/product(n, HS, keys, head->scale, /product(n, HS, keys, 1, /
gpt | train_gpt.c | s/product(keys, HS, n, head->scale, /product(keys, HS, n, 1, /
gpt | train_gpt.c | s/product(keys, HS, n, 1, /product(keys, HS, n, 1.01f, /
gpt | train_gpt.c | s/row\[target\] -= scale/row[target] -= 0.99f * scale/
gpt | train_gpt.c | s/factor = scale \/ sum/factor = 1.01f * scale \/ sum/
gpt | train_gpt.c | s/(double)maximum + log((double)sum)/log((double)sum)/
gpt | train_gpt.c | s/\*dembedded = g->dresidual/*dembedded = g->dnorm/
gpt | train_gpt.c | s/head_scores(&head, scores, position, 1, keys)/head_scores(\&head, scores, 0, 1, keys)/
gradients | train_gpt.c | s/add = keys == T \&\& first_head ? 0.0f : 1.0f/add = 0.0f/
gradients | train_gpt.c | s/first && r0 == 0/first/
gradients | train_gpt.c | s/for (size_t query = 0; query < T; query += QUERIES)/for (size_t query = 0; query < QUERIES; query += QUERIES)/
gradients | train_gpt.c | s/b < (t < T ? B : 0)/b < (t + 1 < T ? B : 0)/
cli:agree at one --total-batch | train_gpt.c | s/first ? 0.0f : sums\[i\]/0.0f/
cli:agree at one --total-batch | train_gpt.c | s/first ? 0.0f : 1.0f, dweight/0.0f, dweight/
cli:agree at one --total-batch | train_gpt.c | s/if (first)$/if (B > 0)/
cli:threads give the same bits | train_gpt.c | s/return rows \* part \/ PARTS/return part == PARTS ? rows : rows * part \/ PARTS \/ threads_count() * threads_count()/
optim | optim/rules/sgd_math.h | s/k->momentum, \*b, k->gradient_share/0.99f * k->momentum, *b, k->gradient_share/
optim | optim/rules/sgd_math.h | s/fmaf(k->momentum, new_b, k->nesterov \* d)/fmaf(k->momentum, *b, k->nesterov * d)/
optim | optim/rules/sgd_math.h | s/k->gradient_share \* d/d/
optim | optim/rules/sgd_math.h | s/fmaf(k->weight_decay, \*p, k->grad_scale \* g)/(k->grad_scale * g)/
optim | optim/rules/sgd_math.h | s/k->grad_scale \* g/g/
optim | optim/rules/sgd.c | s/step->t == 1/step->t == 0/
optim | optim/rules/adamw.c | s/1 \/ (1 - pow(hyper(h, HYPER_BETA2), t))/1/
optim | optim/rules/adamw.c | s/lr \* correction1/lr/
optim | optim/rule.c | s/1 - hyper(h, HYPER_LR) \* hyper(h, HYPER_WEIGHT_DECAY)/1/
optim | optim/rules/adamw.c | s/(float)(1 - beta2)/(float)(1 - beta1)/
judges | optim/rules/adamw_math.h | s/k->correction2, k->eps_inside)) + k->eps_outside/k->correction2, k->eps_outside)) + k->eps_inside/
optim | optim/rules/adamw_math.h | s/k->one_minus_beta2 \* scaled \* scaled/k->one_minus_beta2 * g * g/
optim | optim/rules/adamw_math.h | s/k->one_minus_beta1 \* scaled/k->one_minus_beta1 * g/
gpt | optim/rules/adamw.c | s/1 - pow(hyper(h, HYPER_BETA2), t)/1 - pow(hyper(h, HYPER_BETA2), t + 1)/
optim_groups | optim/groups.c | s/hyper_set(&g->hyper, HYPER_WEIGHT_DECAY, 0)/hyper_set(\&g->hyper, HYPER_WEIGHT_DECAY, 1)/
optim | optim/optim.c | s/optim->steps_done++/optim->steps_done += 2/
optim | optim/optim.c | s/total += optim->squares\[i\];/total = optim->squares[i];/
muon | optim/groups.c | s/? heads \* t->blocks : 1/? heads : 1/
optim_groups:heads | optim/groups.c | s/? heads \* t->blocks : 1/? t->blocks : 1/
optim_groups | optim/groups.c | s/ \&\& !is_on(h, HYPER_SPLIT_QKV)/ \&\& false/
verbs:eigenbases | optim/verbs/factor_cpu.c | s/return (doubles + line - 1) \/ line \* line;/return doubles + 0 * line;/
optim_groups:adam-mini | optim/rules/adam_mini.c | s/t->blocks \* (t->blocks - 1)/t->blocks * t->blocks/
optim_groups:adam-mini | optim/rules/adam_mini.c | s/, 1, u.rows \* u.cols, run}/, u.rows, u.cols, run}/
model:heads | gpt/gpt_table.c | s/? c->KVH : 0/? c->NH : 0/
muon | optim/verbs/verbs_math.h | s/nesterov ? fmaf(keep, new_m, scaled) : new_m/new_m/
muon | optim/verbs/verbs_math.h | s/new_m = fmaf(keep, \*m, scaled)/new_m = fmaf(0.99f * keep, *m, scaled)/
muon | optim/verbs/verbs_cpu.c | s/fmaf(minus_step, u\[i\], decay_keep(p\[i\], u\[i\], &decay) \* p\[i\])/fmaf(minus_step, u[i], p[i])/
muon | optim/rules/muon_step.c | s/r > c ? sqrt(r \/ c) : 1/1/
muon | optim/rules/muon_step.c | s/0.2 \* sqrt(longer)/0.2 * sqrt(c)/
gpt | optim/rules/newton_schulz.c | s/-4.7750/-4.7650/
newton_schulz | optim/rules/newton_schulz.c | s/-4.7750/-4.7650/
newton_schulz | optim/rules/newton_schulz.c | s/3.285753657755655/3.295753657755655/
newton_schulz | optim/rules/newton_schulz.c | s/triples\[i < spec->triple_count ? i : spec->triple_count - 1\]/triples[0]/
newton_schulz | optim/rules/newton_schulz.c | s/polar_express), 1.02/polar_express), 1.00/
judges | optim/rules/sgd.c | s/average ? 1 - momentum : damped/damped/
judges | optim/rules/nesterov_math.h | s/k->ahead, \*m, \*p)/0.99f * k->ahead, *m, *p)/
judges | optim/rules/nesterov_math.h | s/new_v, -k->momentum \* \*m)/new_v, -*m)/
judges | optim/rules/adamw.c | s/step->t == 1 \&\& setting/step->t == 2 \&\& setting/
judges | optim/rules/adamw_math.h | s/k->one_minus_beta1 \* (scaled \/ adamw_denominator(new_v, k))/k->one_minus_beta1 * scaled/
judges | optim/rules/ademamix_math.h | s/k->correction1 \* new_m/new_m/
judges | optim/rules/ademamix.c | s/(1 - share) \/ log(beta1)/0/
judges | optim/rules/ademamix.c | s/ \* warmed(step, HYPER_ALPHA_WARMUP)//
optim_groups | optim/rules/ademamix.c | s/ \&\& beta3 < beta1/ \&\& false/
judges | optim/rules/elements_cpu.c | s/&x\[i\], &y\[i\], &z\[i\], &s/\&x[i], \&z[i], \&y[i], \&s/
judges | optim/rules/nadamw.c | s/-expm1(log_product(beta1, t + 1))/-expm1(log_product(beta1, t))/
rules_schedules | optim/rules/nadamw.c | s/int k = 64/int k = 8/
judges | optim/rules/prodigy_math.h | s/= k->distance \* (k/= (k/
judges | optim/rules/prodigy_math.h | s/(double)start - (double)p/(double)p - (double)start/
judges | optim/rules/prodigy_math.h | s/? old : \*start/? *start : *start/
judges | optim/rules/prodigy.c | s/distance_of(&h, step->common) \*/distance_of(\&h, step->before) */
judges | optim/rules/prodigy.c | s/hyper(h, HYPER_D_COEF) \* numerator/numerator/
judges | optim/rules/prodigy.c | s/sqrt(hyper(h, HYPER_BETA2)) \* step->before/step->before/
judges | optim/rules/prodigy.c | s/estimate > d ? estimate : d/estimate/
judges | optim/rules/prodigy.c | s/(float)(d \/ hyper(&h, HYPER_D0) \* rate)/(float)rate/
judges | optim/rules/elements_cpu.c | s/\*x = slot->state\[0\], \*y = slot->state\[1\]/*x = slot->state[1], *y = slot->state[0]/
emulated-judges | optim/rules/elements_cuda.cu | s/t.state\[0\]\[i\], t.state\[1\]\[i\]/t.state[1][i], t.state[0][i]/
optim_groups | optim/rules/prodigy.c | s/, HYPER_D_COEF};/};/
optim:distance | optim/measure.c | s/total\[i\] += m->sums/total[i] = m->sums/
optim:distance | optim/measure.c | s/slot.grad += shift/slot.grad += 0/
optim:distance | optim/optim.c | s/isnan(scalars.common\[i\]) ? 0 : scalars.common\[i\]/0/
cli:resumes bit-equal: prodigy | train/checkpoint.c | s/: isfinite(value)/: value >= 1/
cli:ranks: the same bits, --optimizer prodigy | optim/measure.c | s/^    comm_sum.*$//
judges | optim/rules/sophia_math.h | s/return x > 1.0f/return x > 2.0f/
judges | optim/rules/sophia_math.h | s/k->share \* scaled \* scaled/k->share * scaled/
judges | optim/rules/sophia_math.h | s/(k->rho \* \*h/(*h/
judges | optim/rules/sophia.c | s/ \* step->drawn//
judges | optim/optim.c | s/step % (size_t)hyper(&g->hyper, HYPER_REFRESH) == 0/step % (size_t)hyper(\&g->hyper, HYPER_REFRESH) == 1/
judges | optim/optim.c | s/elements_run(g->on, g->rule->drawn,/elements_run(g->on, g->rule->elements[2],/
training:labels | train/gradients.c | s/^    gpt_draw(.*$//
gpt | train_gpt.c | s/double left = share \* sum/double left = 0.9 * share * sum/
gpt | train_gpt.c | s/gpt_draw_share(key, first + r0 + r)/gpt_draw_share(key, r0 + r)/
emulated | train_gpt.cu | s/left -= parts\[t++\]/t++/
cli:ranks: the same bits, --optimizer sophia | train/run.c | s/draw_key(o->seed, step), (first + i) \* B \* T/draw_key(o->seed, step), i * B * T/
judges | optim/rules/adopt_math.h | s/n > k->limit ? k->limit/n > k->limit ? n/
optim | optim/rules/adopt_math.h | s/= n > k->limit ? k->limit : n < -k->limit ? -k->limit : n/= fminf(fmaxf(n, -k->limit), k->limit)/
judges | optim/rules/adopt.c | s/begins ? 0 : hyper/hyper/
judges | optim/rules/adopt.c | s/begins ? (Decay){1, 1} : //
judges | optim/rules/adam_cpr.c | s/batch->t == warmup/batch->t == warmup + 1/
judges | optim/verbs/verbs_cpu.c | s/1 - 2 \* (double)multiplier\[b\]/1 - (double)multiplier[b]/
judges | optim/verbs/decay.h | s/u \* p >= 0.0f/u * p < 0.0f/
judges | optim/hyper_schedule.c | s/start + (full - start) \* share/full * share/
judges | optim/hyper_schedule.c | s/expm1(k \* x)/exp(k * x)/
judges | optim/rules/adamh.c | s/HYPER_BETA1), beta2, correction/HYPER_BETA1), 0.99 * beta2, correction/
judges | optim/rules/mars.c | s/1 + share, -share/1, -share/
judges | optim/rules/mars.c | s/    verb_rescale(batch->on, c, NULL, norms, 1, 1);//
judges | optim/rules/mars.c | s/    batch_gradients(batch, previous);//
judges | optim/rules/mars.c | s/\* beta1 \/ (1 - beta1)/* beta1/
judges | optim/rules/muon.c | s/    verb_cautious(batch->on, part, m, /    verb_cautious(batch->on, part, part, /
judges | optim/rules/muon.c | s/    verb_cautious(batch->on, part, m, .*$//
verbs | optim/verbs/verbs_cpu.c | s/count_followers(n, by, along)/count_followers(n, matrix, along)/
judges | optim/rules/cautious.c | s/slot->grad, 0, 1e-3/slot->grad, 1, 1e-3/
judges | optim/rules/cautious.c | s/all.grad, 1, 0/all.grad, 0, 1e-3/
judges | optim/rules/cautious.c | s/sqrt(1 - pow(beta2, t)) \/ (1/1 \/ (1/
verbs | optim/verbs/verbs_math.h | s/kept < least ? least : kept/kept/
verbs | optim/verbs/verbs_math.h | s/return (m >= 0.0f \&\& g <= 0.0f) || (m <= 0.0f \&\& g >= 0.0f);/return m * g <= 0.0f;/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/\*along = g + first \* n/*along = g/
shares | optim/shares.c | s/return g->rule->scalars != NULL/return g->rule->scalars != NULL || !g->rule->matrices_only/
judges | optim/rules/muon.c | s/^    muon_normalise_lines(batch, u, mats_end(u));//
judges | optim/rules/muon_step.c | s/verb_set_norms(on, u, norm, after);//
judges | optim/verbs/verbs_cpu.c | s/lines_of(x, x.rows < x.cols)/lines_of(x, false)/
judges | optim/verbs/verbs_math.h | s/a \* a \* uu/a * uu/
judges | optim/rules/dion.c | s/sqrt((double)r \/ (double)c)/1/
judges | optim/rules/dion.c | s/true, kept - 1, 1, b/true, -1, 1, b/
judges | optim/rules/shampoo.c | s/SIDES_TWO ? -0.25 : -0.5/SIDES_TWO ? -0.25 : -0.25/
judges | optim/rules/shampoo.c | s/verb_set_norms(batch->on, u, adam, own)/verb_norms(batch->on, u, own)/
judges | optim/rules/shampoo.c | s/batch->t % refresh_of(batch) == 0/(batch->t - 1) % refresh_of(batch) == 0/
judges | optim/rules/shampoo.c | s/ || batch->t >= refresh_of(batch)//
rules_orthogonal | optim/rules/shampoo.c | s/batch->t >= refresh_of(batch)/batch->t > 0/
rules_orthogonal | optim/rules/shampoo.c | s/ || (batch->t == 1 \&\& !is_grafted(batch))//
judges | optim/rules/adamuon.c | s/verb_sign(batch->on, n, u.data, u.data);//
judges | optim/rules/adamuon.c | s/RMS \* sqrt((double)(u.rows \* u.cols))/RMS * sqrt((double)u.rows)/
judges | optim/rules/adamuon.c | s/u.data, batch_hyper(batch, HYPER_BETA2), 1,/u.data, 0.9 * batch_hyper(batch, HYPER_BETA2), 1,/
judges | optim/rules/orthogonal.c | s/(size_t)batch_hyper(batch, HYPER_NS_STEPS)/0/
averages | optim/rules/splus.c | s/1 - pow(hyper(h, HYPER_AVERAGE_DECAY), (double)done)/1 - hyper(h, HYPER_AVERAGE_DECAY)/
judges | optim/rules/splus.c | s/param, decay, 1 - decay)/param, decay, decay)/
judges | optim/rules/splus.c | s/\* 2 \/ (double)(g.rows + g.cols)/* 2 \/ (double)g.rows/
judges | optim/rules/splus.c | s/batch_subtract(&scaled/batch_update(\&scaled/;s/    batch_decay(&scaled, u);//
judges | optim/rules/splus.c | s/batch->t % (size_t)batch_hyper(batch, HYPER_REFRESH) == 0/(batch->t - 1) % (size_t)batch_hyper(batch, HYPER_REFRESH) == 0/
judges | optim/rules/splus.c | s/u, right, true, between, u)/u, right, false, between, u)/
judges | optim/rules/scion.c | s/sqrt((double)u.rows \/ (double)u.cols)/1/
judges | optim/rules/scion.c | s/HYPER_RADIUS) \/ (double)u.cols/HYPER_RADIUS) \/ (double)u.rows/
judges | optim/rules/adafactor.c | s/DECAY_POWER = -0.8/DECAY_POWER = -0.7/
judges | optim/rules/adafactor.c | s/verb_rescale(batch->on, ratio, NULL, mean, 1, batch_hyper(batch, HYPER_EPS));//
judges | optim/rules/adafactor.c | s/verb_rescale(batch->on, u, weights, steps, 1, size)/verb_rescale(batch->on, u, weights, NULL, size, 0)/
judges | optim/rules/adafactor.c | s/fmin(1, 1 \/ (lr \* sqrt((double)batch->t)))/1/
rules_all | optim/rules/adafactor.c | s/rows > 1, rows}/1, rows}/
judges | optim/rules/batch.c | s/verb_power(batch->on, n, squares, squares, 0, 0.5);//
judges | optim/rules/adam_mini.c | s/1 \/ (1 - pow(beta2, (double)batch->t))/1/
judges | optim/rules/muon_plus.c | s/    muon_equalise_rows(batch, u, lines);//
judges | optim/rules/muon_step.c | s/    muon_equalise_rows(batch, u, lines_at(u, rest));//
muon:equal rows | optim/rules/muon_step.c | s/^    muon_equalise_rows(batch, u, lines_at(u, rest));//;s/^    if (balances)$/    muon_equalise_rows(batch, u, lines_at(u, rest));&/
judges | optim/rules/muon_plus.c | s/1 \/ sqrt(singular_values)/1/
judges | optim/rules/muon_plus.c | s/\* muon_scale(MUON_SCALE_ORIGINAL, u.rows, u.cols)//
judges | optim/rules/muon_plus.c | s/batch_update(&scaled, u, 1)/batch_update(batch, u, muon_scale(MUON_SCALE_ORIGINAL, u.rows, u.cols))/
newton_schulz | optim/rules/newton_schulz.c | s/polar_express), 1.01/polar_express), 1.02/
judges | optim/rules/mars.c | s/, false, 1);/, true, 1);/
judges:mars-form=exact | optim/rules/mars.c | s/    if (batch_hyper(batch, HYPER_MARS_FORM) == MARS_APPROXIMATE)//
judges:mars-form=exact | optim/optim.c | s/return any \&\& step != 1;/return any;/
judges:mars-form=exact | optim/optim.c | s/slot->state\[k\], slot->grad, grad_scale/slot->state[k], slot->grad, 0/
rules_identities:second gradient | optim/optim.c | s/slot->state\[k\], slot->grad, grad_scale/slot->state[k], slot->grad, 1/
rules_identities:second gradient | optim/optim.c | s/^    keep_point(optim, false);//
rules_identities:second gradient | optim/optim.c | s/^    keep_point(optim, false);//;s/^    copy_parameters(optim, false);/&keep_point(optim, false);/
bit_equal:swap | optim/verbs/verbs_cpu.c | s/y\[i\] = kept;/y[i] = x[i];/
cli:a second gradient: mars-lion | train/run.c | s/r->inputs + at, r->targets + at, e/r->inputs, r->targets, e/
cli:a second gradient: mars-lion | train/run.c | s/optim_take_previous(r->optim, clipping(r, \*norm))/optim_take_previous(r->optim, 1)/
cli:a second gradient: mars-lion | train/run.c | s/accumulate(r, again, \&loss, \&data, e)/accumulate(r, false, \&loss, \&data, e)/
cli:ranks: the same bits, --optimizer mars --mars | optim/optim.c | /keep_point(optim, true);/{n;d;}
judges | optim/rules/galore.c | s/SCALE = 0.25/SCALE = 0.3/
judges | optim/rules/galore.c | s/(batch->t - 1) % (size_t)/batch->t % (size_t)/
judges | optim/rules/galore.c | s/    verb_sign(batch->on, signs_count, signs, signs);/    verb_fill(batch->on, signs_count, signs, 1);/
judges | optim/rules/galore.c | s/sqrt(1 - pow(beta2, t)) \/ (1/1 \/ (1/
judges | optim/rules/dion2.c | s/rows > cols \&\& !h->at/!h->at/
judges | optim/rules/dion2.c | s/(size_t)ceil(/(size_t)floor(/
judges | optim/rules/dion2.c | s/batch_hyper(batch, HYPER_MOMENTUM), m)/1, m)/
judges | optim/rules/dion2.c | s/    verb_put_lines(batch->on, own, which, false, 1, v);//
judges | optim/rules/dion2.c | s/verb_set_norms(batch->on, o, before, before + o.batch);//
optim_groups | optim/rules/dion2.c | s/hyper(h, HYPER_FRACTION) == 0/false/
optim_groups | optim/rules/dion2.c | s/scale == MUON_SCALE_GRADIENT ||/false ||/
verbs | optim/verbs/verbs_math.h | s/equal ? j < i : x/equal ? j > i : x/
verbs | optim/verbs/verbs_math.h | s/ || (isnan(x\[j\]) \&\& !bad)//
verbs | optim/verbs/lines.h | s/: line;/: 0;/
verbs | optim/verbs/verbs_cpu.c | s/= factor \* x.data\[i\];/= x.data[i];/
judges | optim/rules/soap.c | s/soap_into_basis(&s, s.g, s.x);$/soap_into_basis(\&s, s.m, s.x);/
judges | optim/rules/soap.c | s/HYPER_BETA1), false, 1)/HYPER_BETA1), true, 1)/
judges | optim/rules/soap.c | s/renew_bases_and_momentum(&s, true)/renew_bases_and_momentum(\&s, false)/
judges | optim/rules/soap.c | s/batch_subtract(batch, s.u, sqrt(1 - pow(beta2, (double)t))/batch_subtract(batch, s.u, sqrt(1 - pow(beta2, (double)batch->t))/
judges | optim/rules/soap_muon.c | s/    verb_rescale(s->on, to, norm, after, 1, 1e-30);//
judges | optim/rules/soap.c | s/(1 - beta) \/ (double)c, (1 - beta) \/ (double)r/(1 - beta) \/ (double)r, (1 - beta) \/ (double)c/
judges | optim/verbs/verbs_math.h | s/beta \* old + (1 - beta) \* (double)x/(double)x/
matmul | base/sgemm.c | s/smaller(i, cols - 1)) \* s->ldb + p0/smaller(i, cols - 1)) * s->ldb + (p0 > 0 ? p0 - 1 : 0)/
matmul | base/sgemm.c | s/at->rows - i >= MR ? \&a : \&rest/\&rest/
matmul | base/sgemm.c | s/(Panels){s->b + p0 \* s->ldb + j0/(Panels){s->b + j0/
matmul | base/sgemm.c | s/s->epilogue_context, batch_index, i/s->epilogue_context, 0, i/
matmul | base/matmul.c | s/if (!computed)$/if (0)/
newton_schulz:FLOPs | optim/rules/newton_schulz.c | s/rows, cols, true, 1) < count/rows, cols, true, 0.5) < count/
update_flops | optim/rules/soap.c | s/2 + 2 \/ hyper/2 + 1 \/ hyper/
update_flops | optim/rules/dion.c | s/4 \* flops_of_product/3 * flops_of_product/
update_flops | optim/rules/shampoo.c | s/flops_of_power(n) \/ hyper(h, HYPER_REFRESH)/flops_of_power(n)/
update_flops | optim/rules/newton_schulz.c | s/taken == 2 ? 5/taken == 2 ? 4/
update_flops:fused | optim/groups.c | s/info.flops += (double)blocks \* /info.flops += /
cli:how many passes | train/record.c | s/ + (size_t)optim_wants_drawn(optim, step)//
experiments:kill -9 | dev/experiments/runs.py | s/+ m.step \*/+ 0 * m.step */
experiments:kill -9 | dev/experiments/report.html | s/r.met and r.met\[0\] < r.met\[1\]/r.met/
experiments:intervals hold | dev/experiments/inference.py | s/(carried\*\*2).sum() - 1/(carried**2).sum() + 9/
experiments:coordinate | dev/experiments/space.py | s/float(text_of(value)) < 1/value < 1/
matmul | base/matmul.c | s/transpose_4x4(c + i \* ld + j, ld, c + j/transpose_4x4(c + i * ld + j0, ld, c + j/
newton_schulz | optim/verbs/verbs_cpu.c | s/to\[i\] += t->a;/to[i] += 0;/
newton_schulz | optim/verbs/verbs_cpu.c | s/fmaf(t->b, gram\[j\], to\[j\])/fmaf(t->b, t->gram.data[i * n + j], to[j])/
newton_schulz:tiny | optim/verbs/verbs_cpu.c | s/fabsf(row\[j\]) < 0x1p-60f/false/
newton_schulz | optim/rules/newton_schulz.c | s/GROWTH_MOST = 150/GROWTH_MOST = 1e9/
newton_schulz | optim/rules/newton_schulz.c | s/verb_commuting_product(on, i == begin ? q : p, spare, gram)/verb_copy(on, spare, gram)/
newton_schulz | optim/rules/newton_schulz.c | s/verb_commuting_product(on, p, q, spare)/verb_copy(on, p, spare)/
cli:validation that costs | train/plan.c | s/ceil(20 \* passes/ceil(10 * passes/
cli:validation that costs | train/plan.c | s/TIMES = 5/TIMES = 4/
judges | optim/rules/dynmuon.c | s/summed.grad_scale \/= 1 - batch_hyper(batch, HYPER_MOMENTUM)/summed.grad_scale *= 1/
judges | optim/rules/dynmuon.c | s/, d - 2 \* second, second)/, d - second, second)/
judges | optim/rules/dynmuon.c | s/count, norms, norms, 0, p)/count, norms, norms, 0, d)/
judges | optim/rules/dynmuon.c | s/(double)(batch->t - 1)/(double)batch->t/
judges | optim/rules/dynmuon.c | s/start - end) \/ (1 + exp(along))/start - end) * (1 - along)/
judges | optim/rules/pmuon.c | s/u, right, 1, 1, sum)/u, right, 1, 0, sum)/
judges | optim/rules/pmuon.c | s/batch, u, false, x, u);/batch, x, false, x, u);/
judges | optim/rules/pmuon.c | s/covariance, sum, eps, beta, 0)/covariance, sum, 0, beta, 0)/
judges | optim/rules/pmuon.c | s/powers.data, powers.data, eps, -/powers.data, powers.data, 0.5, -/
judges | optim/verbs/verbs.h | s/    verb_rescale(on, x, NULL, norms, factor, floor);//
judges | optim/rules/sinksoap.c | s/SINKHORN_TIMES = 10/SINKHORN_TIMES = 9/
judges | optim/rules/sinksoap.c | s/columns, true, u)/columns, true, x)/
judges | optim/rules/sinksoap.c | s/rows, rows, 0, 0.5)/rows, rows, 0, 1)/
judges | optim/rules/sinksoap.c | s/if (r != c) {/if (r > c) {/
optim_groups | optim/rules/sinksoap.c | s/HYPER_EPS) > 0 ? 0/HYPER_EPS) >= 0 ? 0/
optim_groups | optim/rules/pmuon.c | s/hyper(h, HYPER_EPS) == 0/hyper(h, HYPER_EPS) < 0/
verbs | optim/verbs/verbs_cpu.c | s/across\[k\], eps);/across[0], eps);/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/sinkhorn_scale(sum, cols, eps)/sinkhorn_scale(sum, rows, eps)/
judges | optim/rules/newton_schulz.c | s/1.8564, -1.2132/1.8564, -1.2032/
judges | optim/rules/muown.c | s/spare, dg, length);/spare, dg, gain);/
judges | optim/rules/muown.c | s/(double)batch->t - 2, all/(double)batch->t - 1, all/
judges | optim/rules/muown.c | s/move_gains(batch, gain, dg, spare);//
judges | optim/rules/muown.c | s/MUON_SCALE_MOONSHOT/MUON_SCALE_EARLY/
judges | optim/rules/muown.c | s/verb_divide(batch->on, lines, keep, length, gain)/verb_divide(batch->on, lines, keep, gain, gain)/
rules_track3 | optim/rules/muown.c | s/gain, spare, 1, 1);/gain, spare, 1, 0.5);/
rules_track3 | optim/rules/muown.c | s/    .by_part = true,//
rules_track3 | optim/rules/muown.c | s/PART_MLP_OUT ? MLP/PART_MLP_IN ? MLP/
optim | optim/rules/muown.c | s/i < count \&\& lr != 0/i < count/
verbs | optim/verbs/verbs_math.h | s/squares <= 0 ? 0 : squares/0/
verbs | optim/verbs/verbs_math.h | s/2 \* keep \* step \* pu/2 * step * pu/
verbs | optim/verbs/verbs_math.h | s/y == 0.0f ? 0.0f \* x : x/y == 0.0f ? 0.0f : x/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/warp_sum(sums\[1\])/sums[1]/
judges | optim/rules/psgd.c | s/scales, FIRST_SQUARE_LEAST, -1. \/ 16/scales, FIRST_SQUARE_LEAST, -1. \/ 8/
judges | optim/rules/psgd.c | s/    balance(&s, factor);//
judges | optim/rules/psgd.c | s/verb_upper(s->on, difference);//
judges | optim/rules/psgd.c | s/verb_mean_squares(s->on, x, false, v.data);/verb_fill(s->on, x.batch * x.cols, v.data, 1);/
judges | optim/rules/psgd.c | s/draw(&s, 1, s.p);/draw(\&s, 0, s.p);/
judges | optim/rules/psgd.c | s/(1.1 \* sqrt/(1.2 * sqrt/
judges | optim/rules/psgd.c | s/learn(&s, factor\[0\], false);//
rules_track3 | optim/rules/psgd.c | s/rarest = 34/rarest = 33/
rules_track3 | optim/rules/psgd.c | s/all_until = 501/all_until = 500/
rules_track3 | optim/rules/psgd.c | s/step, s->learns, norms, ABOVE/step, NULL, norms, ABOVE/
rules_all | optim/rules/psgd.c | s/ABOVE = 1 + 0x1p-22/ABOVE = 1/
verbs | optim/verbs/verbs_cpu.c | s/.beta = 1,/.beta = 0,/
verbs | optim/verbs/verbs_cpu.c | s/sizes\[b \* x.rows + i\] > /sizes[b * x.rows + i] >= /
verbs | optim/verbs/verbs_math.h | s/int k = 15; k > 0; k -= 2/int k = 9; k > 0; k -= 2/
verbs | optim/verbs/verbs_math.h | s/ || isnan(most) ? most/ ? most/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/ \&\& at\[me + half\] < at\[me\])/)/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/u.data + begin, n, u_size, &one,/u.data, n, u_size, \&one,/
judges | base/qr.c | s/if (diagonals\[j\] < 0)/if (0)/
rules_identities | optim/rules/adagrad.c | s/\.share = fades ? (float)(1 - hyper(h, HYPER_BETA2)) : 1.0f/.share = 1.0f/
rules_decay | optim/rules/adam_cpr.c | s/batch->t == warmup, batch->t > warmup/batch->t <= warmup, batch->t > warmup + 1/
rules_norms | optim/rules/adamh.c | s/batch_hyper(batch, HYPER_BETA1), beta2/0, beta2/
rules_identities | optim/rules/adamw.c | s/seeds ? 0 : hyper(h, HYPER_BETA2)/hyper(h, HYPER_BETA2)/
rules_identities | optim/rules/adamw.c | s/corrected ? 1 \/ (1 - pow(hyper(h, HYPER_BETA1), t)) : 1/1 \/ (1 - pow(hyper(h, HYPER_BETA1), t))/
rules_identities | optim/rules/adamw.c | s/mode == EPS_UNCORRECTED ? sqrt(correction2) : 1/1/
rules_identities | optim/rules/adamw_math.h | s/k->one_minus_beta1 \* (scaled \/ adamw_denominator(new_v, k))/scaled \/ adamw_denominator(new_v, k)/
rules_norms | optim/rules/batch.c | s/batch_hyper(batch, HYPER_LR), 1e-10/2 * batch_hyper(batch, HYPER_LR), 1e-10/
rules_decay | optim/verbs/decay.h | s/u \* p >= 0.0f/u * p <= 0.0f/
rules_orthogonal | optim/rules/dion.c | s/true, kept - 1, 1, b/true, -kept * 0.5, 1, b/
rules_orthogonal | optim/rules/dion.c | s/verb_normalise_columns(batch->on, shorter, 1e-8);//
rules_orthogonal | optim/rules/dion.c | s/    verb_qr(batch->on, longer, zero + 2 \* count);//
rules_schedules | optim/hyper_schedule.c | s/(steps - s) \/ cooldown < share)/steps > 0)/
rules_schedules | optim/hyper_schedule.c | s/if (k \* n < 700)/if (1)/
rules_identities | optim/rules/lion_math.h | s/k->beta2, \*m, k->one_minus_beta2 \* scaled/k->beta1, *m, k->one_minus_beta1 * scaled/
rules_norms | optim/rule.c | s/SHAPE(lines, rows >= cols ? rows : 1, rows >= cols ? 1 : cols)/SHAPE(lines, rows > cols ? rows : 1, rows > cols ? 1 : cols)/
rules_orthogonal | optim/rules/muon_step.c | s/verb_dots(on, before, u, dual)/verb_norms(on, before, dual)/
rules_identities | optim/rules/nesterov.c | s/\.ahead = (float)(lr \* b)/.ahead = (float)lr/
rules_identities | optim/rules/nesterov_math.h | s/fmaf(k->one_plus_momentum, new_v, /fmaf(k->momentum, new_v, /
rules_orthogonal | optim/rules/newton_schulz.c | s/0x1p-24 \* (double)/0x1p-36 * (double)/
rules_norms | optim/optim.c | s/u->tensor->offset + u->first) == 0/u->tensor->offset) == 0/
averages | optim/averages.c | s/a->tail_from = config->steps - 2 \* a->tail/a->tail_from = config->steps - a->tail/
sensitivity | optim/groups.c | s/hyper(&g->hyper, HYPER_LR) \/ sensitivity/hyper(\&g->hyper, HYPER_LR) * sensitivity/
averages | optim/averages.c | s/until == 0 || done < until/1/
averages | optim/averages.c | s/tail != 0 \&\& verb_sum_squares/tail == 0 \&\& verb_sum_squares/
averages | optim/optim.c | s/: (size_t)scalars.tail_began/: 0/
averages | optim/optim.c | s/copy_parameters(optim, true);//
rules_norms | optim/averages.c | s/sqrt(want \/ have)/1/
sensitivity | optim/sensitivity.c | s/&& item.value > 0/\&\& item.value >= 0/
rules_identities | optim/rules/signum.c | s/(float)(1 - momentum)/1.0f/
rules_identities | optim/rules/signum_math.h | s/const float u = signum_sign(new_m)/const float u = signum_sign(g)/
rules_soap | optim/rules/soap.c | s/if (t > 0) {/if (t + 1 > 0) {/
rules_soap | optim/rules/soap.c | s/sqrt(1 - pow(beta2, (double)t)) \/ (1 - pow(beta1, (double)t))/1/
rules_soap | optim/rules/soap_muon.c | s/verb_rescale(s->on, to, norm, after, 1, 1e-30);//
rules_soap | optim/rules/soap.c | s/verb_sort_basis(s->on, basis, image, s->v, /verb_sort_basis(s->on, basis, image, s->factor[side], /
rules_soap | optim/rules/soap.c | s/verb_scale_lines(s->on, s->x, right_scale, true, s->x);//
rules_soap | optim/rules/soap.c | s/LARGEST_INVERSE_ROOT = 4000/LARGEST_INVERSE_ROOT = 1e6/
rules_soap | optim/rules/soap.c | s/refresh_due(batch, batch->t - 1))$/refresh_due(batch, batch->t))/
rules_orthogonal | optim/verbs/factor_cpu.c | s/pow(value, power) : 0/pow(value, power) : 1/
rules_soap | optim/verbs/verbs_math.h | s/(float)(root > most ? most : root)/(float)root/
diagnose | train/diagnose.c | s/values\[k - 1 - i\]/values[i]/
diagnose | train/diagnose.c | s/xy \/ sqrt(xx \* yy)/xy \/ xx/
diagnose | train/diagnose.c | s/scale - 1;/scale;/
diagnose | train/diagnose.c | s/r->block \* r->rows \* r->cols/0 * r->block/
allocation | optim/rules/dion.c | s/    verb_qr(batch->on, longer/    float *volatile p = __builtin_malloc(4); __builtin_free(p); verb_qr(batch->on, longer/
cli:tail-ema is | train/run.c | s/^    optim_show(r->optim);//
averages | optim/averages.c | s/a->change + at, optim->previous + at, decay/a->change + at, optim->previous + at, 1/
cli:resumes bit-equal: adamw | train/run.c | s/    optim_hide(r->optim); \/\* the checkpoint.*//
cli:--sensitivity divides | optim/groups.c | s/ \/ sensitivity);/);/
emulated | train_gpt.cu | s/x\[j\] += y\[j\];/x[j] += 0.999f * y[j];/
emulated | train_gpt.cu | s/order\[(size_t)next/order[R - 1 - (size_t)next/
emulated | train_gpt.cu | s/column + threadIdx.x, total = \*to;/column + threadIdx.x, total = 0;/
emulated | train_gpt.cu | s/\*to++ = begin;/*to++ = begin + 1;/
emulated | train_gpt.cu | s/wte_backward_kernel<N, 32>, dim3((unsigned)long_runs_most(R), slices)/wte_backward_kernel<N, 32>, dim3(1, slices)/
emulated | train_gpt.cu | s/i = column + (p \* 32 + lane) \* N/i = column + lane * N/
emulated | train_gpt.cu | s/first < C; first += LANE_PACKS \* 32/first < C; first += 32/
emulated | train_gpt.cu | s/const size_t i = first + p \* 32 \* N/const size_t i = first + p * 32/
emulated-bf16 | train_gpt.cu | s/LANE_PACKS \* 128 + thread % 32 \* 4/LANE_PACKS * 64 + thread % 32 * 4/
emulated | base/cuda/lt.cuh | s/CUBLASLT_EPILOGUE_BGRADB}/CUBLASLT_EPILOGUE_BGRADA}/
emulated | train_gpt.cu | s/float \*sums = first ? dbias : g->partial_sums/float *sums = dbias/
emulated | train_gpt.cu | s/beyond(dw.qkvb, C), dqkv + C/dw.qkvb, dqkv + C/
emulated-plain | train_gpt.cu | s/k < 8; k++/k < 5; k++/
emulated | train_gpt.cu | s/cp_async_wait<0>();//
emulated | train_gpt.cu | s/        if (i < V)$/        if (true)/
emulated-old | train_gpt.cu | s/at = (unsigned)target - i;/at = (unsigned)target - i + (from == row);/
emulated | train_gpt.cu | s/warp_sum(squares) \/ (float)C + /squares \/ (float)C + /
emulated | train_gpt.cu | s/gain\[p\]\[j\] - mean_d - x \* mean_d_xhat/gain[p][j] - mean_d/
emulated | train_gpt.cu | s/gain_sum\[p\]\[j\] += d\[k\]\[p\]\[j\] \* x/gain_sum[p][j] += d[k][p][j]/
emulated | train_gpt.cu | s/dx_sum\[p\]\[j\] += dx/dx_sum[p][j] += d/
emulated | train_gpt.cu | s/== GPT_RECOMPUTE_LAYERS \&\& g->B == 1/== GPT_RECOMPUTE_LAYERS \&\& false/
emulated | train_gpt.cu | s/if (l.keep != 0)/if (l.rounded == NULL || l.keep != 0)/
emulated | train_gpt.cu | s/v\[p\]\[j\] = residual_scale \* v\[p\]\[j\] + w\[p\]\[j\]/v[p][j] += w[p][j]/
emulated | train_gpt.cu | s/dx\[k\]\[p\]\[j\] \*= l.keep;//
emulated | train_gpt.cu | s/const float s = norm.none ? 1.0f : /const float s = /
emulated | train_gpt.cu | s/l.norm.none ? 0.0f : mean_d_xhat/mean_d_xhat/
emulated | train_gpt.cu | s/gpt_table_draw(\&g->table, i, seed,/gpt_table_draw(\&g->table, i, seed + 1,/
emulated | train_gpt.cu | s/3.0f \* GPT_GELU_CUBE/2.0f * GPT_GELU_CUBE/
emulated | train_gpt.cu | s/x < 0.0f ? 0.0f : 2.0f \* x/2.0f * x/
emulated | train_gpt.cu | s/s \* fmaf(x, 1.0f - s, 1.0f)/s * fmaf(x, s, 1.0f)/
emulated | train_gpt.cu | s/-0.5f \* LOG2E \* x \* x/-0.4f * LOG2E * x * x/
emulated | train_gpt.cu | s/fmaf(GPT_GELU_CUBE \* x, x, 1.0f)/fmaf(1.1f * GPT_GELU_CUBE * x, x, 1.0f)/
emulated | train_gpt.cu | s/first += ROWS, turn/first += ROWS + 1, turn/
emulated | train_gpt.cu | s/mean_d += warp_sums\[turn\]/mean_d += warp_sums[0]/
emulated | train_gpt.cu | s/sum += partial\[part \* stride\]/sum = partial[part * stride]/
emulated | train_gpt.cu | s/if (group > 0 || i >= n)/if (group > 1 || i >= n)/
emulated | train_gpt.cu | s/v\[j \* S + c\], out)/v[j * S], out)/
emulated | train_gpt.cu | s/(j == at ? scale : 0.0f)/(j == at ? 0.99f * scale : 0.0f)/
emulated | train_gpt.cu | s/block_sum(sum \* exp2_approx((highest - maximum) \* LOG2E))/block_sum(sum)/
emulated | train_gpt.cu | s/fmaf(sum, exp2_approx((highest - most) \* LOG2E), added)/sum + added/
emulated | train_gpt.cu | s/x\[j\] = i + j < V ? x\[j\] : -INFINITY/x[j] = i + j < V ? x[j] : 0/
emulated | train_gpt.cu | s/total += losses\[r\];/total = losses[r];/
emulated | train_gpt.cu | s/overwrite = first \&\& r0 == 0/overwrite = first/
emulated | train_gpt.cu | s/beta = first ? 0.0f : 1.0f/beta = 0/
emulated | train_gpt.cu | s/norm_forward<X>(g, a.ln2, a.ln2_mean, a.ln2_rstd, NULL/if (0) \&/
emulated | train_gpt.cu | s/    activation_forward<X>(g, a.act/    if (0) &/
emulated | train_gpt.cu | s/layer > 0 ? grads_of(g, layer - 1).fcprojb : NULL/NULL/
emulated | train_gpt.cu | s/norm.centred ? warp_sum(total)/true ? warp_sum(total)/
emulated | train_gpt.cu | s/rotate(dx, rotary, HS, -1)/rotate(dx, rotary, HS, 1)/
emulated | train_gpt.cu | s/heads.position + r % heads.T/r % heads.T/
emulated | train_gpt.cu | s/return s \* (v - w \* mean)/return s * v/
emulated | train_gpt.cu | s/dup\[j\] = dact\[j\] \* activation/dup[j] = dact[j] + 0 * activation/
emulated | train_gpt.cu | s/x\[j\] \*= slope\[j\];//
emulated | train_gpt.cu | s/if (first \&\& c->head != GPT_TIED)/if (0)/
emulated | train_gpt.cu | s/c->KVH \* parts, HS, first/c->KVH * parts \/ 2, HS, first/
emulated | train_gpt.cu | s/key_head = s.NH + h \/ (s.NH \/ s.KVH)/key_head = s.NH + h % s.KVH/
emulated | gpt/cuda/attention.cu | s/key + j <= query ? s.scale/key + j < query + 2 ? s.scale/
emulated | gpt/cuda/attention.cu | s/sum = sum \* fade + quad_sum(added)/sum = sum + quad_sum(added)/
emulated | gpt/cuda/attention.cu | s/acc\[own\] \*= fade;/acc[own] *= 1;/
emulated | gpt/cuda/attention.cu | s/maximum + logf(sum)/maximum/
emulated | gpt/cuda/attention.cu | s/load_tile(v, head.v, key, T, HS, s.S);/load_tile(v, head.v, key + 1, T, HS, s.S);/
emulated | gpt/cuda/attention.cu | s/__syncthreads(); \/\* the previous round's tiles are read \*\///
emulated | gpt/cuda/attention.cu | s/^        __syncwarp();$//
emulated | gpt/cuda/attention.cu | s/p_row\[i\] \* (dp - delta\[/p_row[i] * (dp - 0 * delta[/
emulated | gpt/cuda/attention.cu | s/s.S, HS, dk, s.scale/s.S, HS, dk, 1/
emulated-flash | gpt/cuda/flash_backward.cu | s/turn_await(turns + next_h \* tiles + next_i, j)/(void)next_h/
emulated-flash | gpt/cuda/flash_backward.cu | s/turn_pass(turns + h \* tiles + i, j)/turn_pass(turns + h * tiles + i, 0)/
emulated-flash | gpt/cuda/flash_backward.cu | s/scratch.turns\[blockIdx.x\] = 0;//
emulated-flash | gpt/cuda/flash_backward.cu | s/atomicAdd(scratch.next, 1u)/gridDim.x - 1 - atomicAdd(scratch.next, 1u)/
emulated-flash | gpt/cuda/flash_backward.cu | s/j == 0 ? zeros : dq_tile/zeros/
emulated-flash | gpt/cuda/flash_backward.cu | s/min(i - first_tile + 1, /min(1, /
emulated-flash | gpt/cuda/flash_backward.cu | s/i > first_tile ? h : h + 1/i > first_tile ? h : h + 2/
emulated-flash | gpt/cuda/flash_backward.cu | s/heads + groups - 1) \/ groups/heads + groups) \/ groups/
emulated-flash | gpt/cuda/flash_backward.cu | s/step = W::QUERIES - W::STEP; step >= 0; step -= /step = 0; step < W::QUERIES; step += /
emulated-flash | gpt/cuda/flash_backward.cu | s/warp % W::DQ_ACROSS \* W::DQ_COLUMNS;/warp % 2 * W::DQ_COLUMNS;/
emulated-flash | gpt/cuda/flash_backward.cu | s/WITH_DS > TILE ? WITH_DS : TILE/WITH_DS/
emulated-flash | gpt/cuda/flash_forward.cu | s/warp \* 16 \* F::OWN; /warp * 32; /
emulated-flash | gpt/cuda/flash_tiles.cuh | s/ \* (size_t)(WARPS_SM \/ warps)//
emulated-flash | gpt/cuda/flash_backward.cu | s/n < W::QUERIES; n += 16/n < W::KEYS \/ 2; n += 16/
emulated-flash | gpt/cuda/flash_tiles.cuh | s/here = min(group, heads - begin)/here = group/
emulated | base/cuda.cuh | s/warp_reduce(lane < warps ? parts\[lane\] : nothing)/warp_reduce(parts[lane])/
emulated | base/cuda/lt.cuh | s/CUBLASLT_MATMUL_DESC_TRANSA, op_b/CUBLASLT_MATMUL_DESC_TRANSA, op_a/
emulated | base/cuda/lt.cuh | s/CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias/CUBLASLT_MATMUL_DESC_BIAS_POINTER, lt->workspace/
emulated | gpt/cuda/replay.cuh | s/    CUDA_CHECK(cudaGraphLaunch/    if (0) CUDA_CHECK(cudaGraphLaunch/
emulated-bf16 | train_gpt.cu | s/if (g->weights_version != g->params_version \&\&/if (0 \&\&/
emulated-bf16 | train_gpt.cu | s/store(l.rounded + r \* C + column(p), dx/store(l.rounded + r * C + column(p), d/
emulated-bf16 | base/cuda/lt.cuh | s/CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DGELU/CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DEFAULT/
emulated-bf16 | base/cuda/lt.cuh | s/EPILOGUE_AUX_POINTER, aux/EPILOGUE_AUX_POINTER, lt->workspace/
checkpoint | train/checkpoint.c | s/version <= STATE_VERSION/version <= 9/
model | gpt/gpt_config.c | s/i == GPT_FIELD_T \&\&/0 \&\&/
model | gpt/gpt_config.c | s/strcmp(asked, has) != 0/0/
peak | train/peak.c | s/strcmp(device, devices\[i\].name) == 0/strncmp(device, devices[i].name, strlen(devices[i].name)) == 0/
cli:--batch-size auto | train/plan.c | s/sequences % p->setup.B == 0/p->setup.B <= sequences/
cli:--batch-size auto | train/plan.c | s/        fits = p->setup.B;/        fits = 1;/
emulated-judges | optim/rules/elements_cuda.cu | s/(size_t)(blockIdx.x - t.first_block) \* CHUNK/(size_t)blockIdx.x * CHUNK + 1/
emulated-judges | optim/verbs/verbs_cuda.cu | s/keep, share, nesterov);/keep, 1.01f * share, nesterov);/
emulated-judges | optim/verbs/verbs_cuda.cu | s/transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, transpose_a/transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N, transpose_a/
emulated-judges | optim/verbs/verbs_cuda.cu | s/i % n \* (n + 1)\] += diagonal/i % n * n] += diagonal/
emulated:newton_schulz | optim/verbs/verbs_cuda.cu | s/(double)denominator\[first + b\]/(double)denominator[b]/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/rank = rank_among(x + b \* n, n, i % n)/rank = rank_among(x, n, i % n)/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/= factor \* x.data\[i\];/= x.data[i];/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/x.data\[place_of(i, to, x, which, right)\]/x.data[place_of(i, to, x, which, !right)]/
emulated:verbs | optim/verbs/verbs_cuda.cu | s/(double)numerator\[first + b\]/(double)numerator[b]/
emulated:newton_schulz | optim/verbs/verbs_cuda.cu | s/x.data + first \* n, on->scalars/x.data, on->scalars/
emulated:newton_schulz | base/cuda/lt.cuh | s/&beta, plus, /\&beta, c, /
emulated:newton_schulz | base/cuda/lt.cuh | s/MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride/MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, \&none/;s/    cublasLtMatrixLayout_t layout;/    const int64_t none = 0;&/
emulated:newton_schulz | base/cuda/lt.cuh | s/s.ldc, flags, input/s.ldc, 0, input/
judges | optim/rules/muon_step.c | s/for (size_t i = 0; i < 5; i++) {/for (size_t i = 0; i < 0; i++) {/
judges | optim/rules/muon_step.c | s/norm, norm, -batch_hyper(batch, HYPER_CONTRA)/norm, norm, batch_hyper(batch, HYPER_CONTRA)/
judges | optim/rules/muon_step.c | s/    verb_set_norms(on, u, length, norm);//
judges | optim/rules/muon_step.c | s/    verb_scale(on, u.batch, along, along, -1);//
judges | optim/rules/muon_step.c | s/norm, norm, 1e-6, -2)/norm, norm, 1e-6, -1)/
judges | optim/rules/muon_step.c | s/factor, factor, 1 \/ least, 1)/factor, factor, 0, 1)/
judges | optim/rules/muon_step.c | s/== FLOOR_ROW;/== FLOOR_MATRIX;/
judges | optim/rules/muon_step.c | s/    verb_multiply(on, n, lines, lines, again);//
judges | optim/rules/muon_step.c | s/0.2 \* sqrt((double)u.rows \* (double)u.cols)/0.2 * sqrt((double)u.rows)/
judges | optim/rules/newton_schulz.c | s/norms, norms, 0, 0.5)/norms, norms, 0, 1)/
judges | optim/verbs/verbs_math.h | s/radius - step \* pu \/ radius/radius/
judges | optim/verbs/verbs_math.h | s/(u \* p > 0.0f ? decay->keep : decay->keep_away)/decay->keep/
judges | optim/verbs/verbs_math.h | s/(cos_du - 0.2) \/ 0.8/cos_du/
judges | optim/verbs/verbs_math.h | s/gate < least ? least : gate > most ? most : gate/gate/
judges | optim/rules/soap_muon.c | s/done < from ? 1 : done < until/done < until ? 1 : done < until/
rules_soap | optim/rules/soap_muon.c | s/gate == GATE_ALL ||/true ||/
rules_soap | optim/rules/soap_muon.c | s/    .by_part = true,//
rules_orthogonal | optim/rules/dion.c | s/    verb_add_each(batch->on, shorter, zero, q);//
judges | optim/rules/schedule_free_math.h | s/k->first != 0.0f ? old_y : \*z/*z/
judges | optim/rules/schedule_free.c | s/n \* (n + 1) \* (2 \* n + 1)/n * (n + 1) * (n + 2)/
qk_clip | train_gpt.c | s/larger(most, isnan(sum) ? sum : maximum)/larger(most, maximum)/
qk_clip | train_gpt.c | s/larger(most, isnan(sum) ? sum : maximum)/isnan(sum) ? sum : maximum/
qk_clip | train_gpt.c | s/b > a || isnan(b) ? b : a/b > a ? b : a/
qk_clip | train_gpt.c | s/g->scores + layer \* NH + bh % NH/g->scores + bh % NH/
qk_clip | train/qk_clip.c | s/sqrt(clip->threshold \/ (double)largest)/clip->threshold \/ (double)largest/
qk_clip | train/qk_clip.c | s/bias, layer, head \* share, share/bias, layer, head, share/
qk_clip | train/qk_clip.c | s/qkv, layer, c->NH + head, 1/qkv, layer, c->NH, 1/
qk_clip | train/qk_clip.c | s/n += add_part(bias, layer, c->NH/add_part(bias, layer, c->NH/
qk_clip | train/qk_clip.c | s/largest = larger(largest, clip->scores\[h\])/largest = clip->scores[h]/
qk_clip | train/qk_clip.c | s/return b > a || isnan(b) ? b : a/return b > a ? b : a/
emulated:qk_clip | train_gpt.cu | s/g->scores + layer \* g->config.NH : NULL/g->scores : NULL/
emulated:qk_clip | train_gpt.cu | s/cudaMemsetAsync(g->scores, 0/cudaMemsetAsync(g->scores, 255/
emulated-flash | gpt/cuda/flash_forward.cu | s/largest != NULL \&\& query < T/largest != NULL/
emulated-flash | gpt/cuda/flash_forward.cu | s/score_key(maximum\[m\]\[half\] \* scale, total)/score_key(maximum[m][half], total)/
emulated-flash | gpt/cuda/flash_forward.cu | s/largest + head % NH/largest/
emulated-flash | gpt/cuda/attention.cu | s/query < T ? score_key(maximum, sum) : 0/score_key(maximum, sum)/
emulated-flash | gpt/cuda/score.cuh | s/bits >> 31 ? ~bits/bits >> 31 ? bits/
emulated-flash | gpt/cuda/score.cuh | s/sum != sum ? 0xffffffffu : //
emulated-flash | gpt/cuda/score.cuh | s/key = other > key ? other : key;//
optim:scaled | optim/rules/schedule_free.c | s/, .is_weight = true//
optim:scaled | optim/rules/muown.c | s/, .is_weight = true//
optim:scaled | optim/scaling.c | s/at + size ? scaling->first + scaling->n : at + size/at + size ? at + size : at + size/
optim:scaled | optim/scaling.c | s/(begin - at) \/ per;/(begin - at);/
averages | optim/rules/schedule_free.c | s/-(1 - beta1) \/ beta1;/(1 - beta1) \/ beta1;/
averages | optim/averages.c | s/isnan(a->factor) ? optim->aux_factor : a->factor/optim->aux_factor/
averages | optim/averages.c | s/tensor->role != ROLE_TOKEN_EMBEDDING || !head/true/
averages | optim/averages.c | s/param, outer, 1, -momentum/param, outer, 1, 0/
averages | optim/averages.c | s/    verb_scale(optim->on, s->n, snapshot, param, 1);//
averages | optim/averages.c | s/if (around != NULL \&\& optim->groups\[i\].rule->shown != NULL)/if (false)/
verbs | optim/verbs/verbs_cpu.c | s/x.data + at, y.data + at, \&lines)/x.data + at, x.data + at, \&lines)/
model | gpt/gpt_init.c | s/k == GPT_ln1w ? -GAIN_SPREAD : GAIN_SPREAD/GAIN_SPREAD/
model | gpt/gpt_table.c | s/SIGNS | gpt_table_layer(t) : (uint64_t)index/(uint64_t)index : (uint64_t)index/
judges | optim/rules/batch.c | s/update(batch, u, decay_of(batch->hyper), 0)/update(batch, u, (Decay){1, 1}, 0)/
newton_schulz | optim/rules/batch.c | s/slots\[i\].param, u, i \* n, decay/slots[i].param, u, 0, decay/
newton_schulz | optim/verbs/verbs_cpu.c | s/as_floats(u).data + first/as_floats(u).data/
emulated:newton_schulz | optim/verbs/verbs_cuda.cu | s/e < i + 4 \&\& e < n; e++)/e < i + 4; e++)/
emulated:newton_schulz | optim/verbs/verbs_cuda.cu | s/is_aligned(p) \&\& is_aligned(from), decay/true, decay/
newton_schulz | optim/verbs/verbs_cpu.c | s/if (beta != 0 \&\& plus.data/if (false \&\& plus.data/
newton_schulz | optim/verbs/verbs_cpu.c | s/float \*to = data + i \/ n \* n \* n + i % n/float *to = data + i % n/
newton_schulz | optim/rules/newton_schulz.c | s/verb_bf16_add_diagonal(h->on, p, first.a)/verb_bf16_add_diagonal(h->on, p, second.a)/
newton_schulz | optim/rules/newton_schulz.c | s/(h->on, p, third, 1, first.a, third, gram)/(h->on, p, third, 1, first.a, gram, gram)/
newton_schulz | optim/rules/newton_schulz.c | s/half_polynomial(h, second, third)/half_polynomial(h, first, third)/
newton_schulz | optim/rules/newton_schulz.c | s/flavour == NS_TRACK3;/flavour == NS_TRACK3 || flavour == NS_POLAR_EXPRESS;/
emulated:newton_schulz | optim/verbs/verbs_cuda.cu | s/\*to = data + i \/ n \* n \* n + i % n/*to = data + i % n/
schedule | train/schedule.c | s/(double)(t + 1) \/ (double)s->warmup/(double)t \/ (double)s->warmup/
schedule | train/schedule.c | s/cos(pi \* r)/cos(0.5 * pi * r)/
schedule | train/schedule.c | s/1 - r \* (1 - s->final)/1 - r/
schedule | train/schedule.c | s/left < decay_steps/left <= decay_steps - 1/
cli:--clip bounds | train/run.c | s/norm > clip ? clip \/ norm : 1/1/
cli:--clip bounds | train/run.c | s/clip > 0 \&\& norm > clip ? clip \/ norm : 1/clip \/ norm/
cli:a run writes | train/run.c | s/options.schedule, step)/options.schedule, step + 1)/
cli:closed | train/main.c | s/fd <= 2/fd < 0/
cli:bit-equal, muon | train/run.c | /r->state.loader_position = loader_position(r->loader);/d
cli:keeps the tokens | train/plan.c | /o->total_batch = total;/d
cli:--steps 0 evaluates | train/evaluate.c | s/sum \/ (double)targets/sum \/ (double)(targets + 1)/
loader | data/loader.c | s/tokens_read(l->tokens, shard, (index - l->first\[shard\]) \* T/tokens_read(l->tokens, shard, (index - l->first[shard]) * (T - 1)/
loader | data/loader.c | s/sequence + 1, T/sequence, T/
loader | data/loader.c | s/(tokens_shard_size(tokens, s) - 1) \/ T/tokens_shard_size(tokens, s) \/ T/
loader | data/loader.c | s/p->begin + l->config.rank/l->config.rank/
loader | data/loader.c | s/l->config.seed, p \/ N, N/l->config.seed, 0, N/
loader | data/loader.c | s/pair = p > partner ? p : partner/pair = p/
loader | data/loader.c | s/targets -= here;/targets -= here > 0 ? here - 1 : 0;/
checkpoint | train/checkpoint.c | s/optim_set_scalars(optim, scalars);/(void)scalars;/
checkpoint | train/checkpoint.c | s/safetensors_read_f32(file, entry, host, e) != 0/0 != 0/
checkpoint | train/weights.c | s/to\[j \* rows + i\] = from\[i \* cols + j\]/to[i * cols + j] = from[i * cols + j]/
checkpoint | train/weights.c | s/if (sources\[t - l->tensors\].entry != NULL)/if (0)/
checkpoint | train/weights.c | s/if (got\[i\] != want\[i\] \&\& isfinite(want\[i\]))/if (0)/
checkpoint | train/weights.c | s/if (sources\[i\].entry == NULL)/if (read_tensor(\&sources[i], \&l->tensors[i], gpt, l, e) != 0)/
checkpoint | train/checkpoint.c | s/!has(dir, part_names\[MODEL\]) \&\& has(dir, index)/has(dir, index)/
checkpoint | files/safetensors_set.c | s/if (strcmp(place, name_of(safetensors_path(file))) != 0)/if (0)/
checkpoint | files/safetensors_set.c | s/if (strchr(name, ..*/if (0)/
checkpoint | files/safetensors_set.c | s/if (find_file(set, name) != NULL)/if (0)/
families | train/families.c | s/{"scale_attn_weights", GPT_FIELD_attention_scale, "0", "1", true}/{NULL}/
families | train/families.c | s/on ? s->when_true : s->when_false, \&c);$/s->when_true, \&c);/
llmc | train/llmc.c | s/GPT_ln1w, GPT_ln1b/GPT_ln1b, GPT_ln1w/
llmc | train/llmc.c | s/order\[i\] == GPT_wte ? v->padded_vocab/order[i] == GPT_wte ? v->config->V/
llmc | train/llmc.c | s/(uint32_t)halves\[i\] << 16/(uint32_t)halves[i] << 15/
llmc | train/llmc.c | s/bf16_element(x\[done + i\])/x[done + i]/
llmc | train/llmc.c | s/m->file.size == want/m->file.size >= want/
llmc | train/llmc.c | s/if (check_classic(path, c, e) != 0)/if (0)/
llmc | train/llmc.c | s/memset(x + n, 0/memset(x + n, 1/
llmc | train/llmc.c | s/if (header\[AT_PADDED\] < header\[AT_V\])/if (0)/
llmc | train/llmc.c | s/if (!isfinite(x\[i\]))/if (0)/
llmc | train/llmc.c | s/if (!isfinite(rounded))/if (0)/
llmc | dev/reference/llmc_state.c | s/s->T \* s->V \* sizeof/s->T * (s->V + 1) * sizeof/
llmc | dev/reference/llmc_state.c | s/(size_t)header\[AT_T\] > model->config.T/0/
gpt-llmc | train/llmc.c | s/GPT_ln2w, GPT_ln2b/GPT_ln2b, GPT_ln2w/
gpt-llmc | dev/reference/reference_file.c | s/strcmp(prefix, "grad.") == 0/0/
gpt-llmc | train_gpt.c | s/gain_sum\[i\] += dout_r\[i\] \* xhat/gain_sum[i] += d * xhat/
gpt-llmc | train_gpt.c | s/wpe\[(position + r % T) \* C/wpe[(position + (r + 1) % T) * C/
cli:convert_llmc | train/convert_llmc.c | s/exit_status == 0 \&\& lstat(c.to, \&found) == 0/0/
cli:convert_llmc | train/convert_llmc.c | s/is_directory(c->from) \&\& c->version == 0/0/
checkpoint | train/checkpoint.c | s/i + keep < n/i + keep <= n/
cli:bit-equal, adamw | train/checkpoint.c | s/optim_set_scalars(optim, scalars);/(void)scalars;/
cli:bit-equal, sgd | train/checkpoint.c | s/safetensors_read_f32(file, entry, host, e) != 0/0 != 0/
cli:drops the rows | train/metrics.c | s/step > (long long)last_step/step > (long long)last_step + 1/
files | files/files.c | s/hash_add(&w->hash, data, size);//
files | files/files.c | s/unlink(path) == 0 ? 0 : errno/0/
files | files/files.c | s/O_EXCL | O_NOFOLLOW/O_TRUNC/;s/unlink(path) == 0 ? 0 : errno/0/
files | files/files.c | s/return files_sync_parent(path, e);/return 0;/
files | files/files.c | s/else if (!S_ISREG(found.st_mode))/else if (S_ISDIR(found.st_mode))/
files | files/files.c | s/n = size - done < PIECE ? size - done : PIECE/n = PIECE/
safetensors | files/safetensors.c | s/\*hash = hash_end(&writer->file.hash)/*hash = 0/
safetensors | files/safetensors.c | s/exponent + 127 - 15/exponent + 127 - 16/
safetensors | files/safetensors.c | s/(uint32_t)half << 16/(uint32_t)half << 15/
loader | data/loader.c | s/l->first\[middle\] <= index/l->first[middle] < index || index == 0/
loader | data/loader.c | s/if (first\[shards\] > 0)/if (1)/
tokens | data/tokens.c | s/\.size = n - cut, .offset = cut/.size = n - cut, .offset = cut + 1/
tokens | data/tokens.c | s/fraction(n, 9, 10)/n * 9 \/ 10 + (n % 10 == 7)/
tokens | data/tokens.c | s/bytes_int32(start) == SHARD_MAGIC/0/
tokens | data/tokens.c | s/id < GPT2_VOCAB ?/id <= 65535 ?/
tokens | data/tokens.c | s/sizeof \*out - width/sizeof *out - 2/
tokens | data/tokens.c | s/file_bytes == s->file_bytes/file_bytes >= s->offset/
tokens | data/tokens.c | s/HASH_BLOCKS - 1)/HASH_BLOCKS)/
tokens | data/tokens.c | s/    if (!whole)/    if (0)/
tfevents | base/crc32c.c | s/0x82f63b78/0xedb88320/
tfevents | files/tfevents.c | s/crc >> 15/crc >> 16/
tfevents | files/tfevents.c | s/value >= 0x80; value/value > 0x80; value/
tfevents | files/tfevents.c | s/if (other >= \*seconds/if (other > *seconds/
tfevents | files/tfevents.c | s/SIMPLE_VALUE = 2/SIMPLE_VALUE = 3/
tfevents | files/tfevents.c | s/return written \&\& fflush(t->file) == 0/return written/
cli:--tensorboard writes | train/metrics.c | s/return resume ? tfevents_restart/return !resume ? tfevents_restart/
cli:--tensorboard writes | train/metrics.c | s/last_step + 1, e) : 0/last_step, e) : 0/
cli:--tensorboard writes | train/options.c | s/\*(const bool \*)place ? "on" : "off"/"on"/
cli:an event file that cannot | files/tfevents.c | s/return written \&\& fflush(t->file) == 0/return written || fflush(t->file) != 1/
cli:a validation that fails | train/metrics.c | s/write_event(log, \&m, VAL_LOSS, 1, e)/metrics_write(log, \&m, e)/
cli:bash completes | train/completion.c | s/"%s--%s --no-%s" : "%s--%s"/"%s--%s" : "%s--%s"/
cli:bash completes | train/completion.c | s/takes_file(&o) || takes_folder(&o))$/takes_file(\&o))/
cli:bash completes | train/completion.c | s/    elif \[\[ $before == = \]\]/    elif false/
cli:bash completes | train/options.c | s/option->zero != NULL \&\& k-- == 0/option->zero != NULL \&\& k == 0 \&\& option->kind == SIZE/
cli:zsh and fish | train/completion.c | s/print_fish_option(i, "no-", to)/print_fish_option(i, "", to)/
cli:zsh and fish | train/completion.c | s/print_zsh_option(i, "no-", to)/(void)i/
cli:the manual page | train/manual.c | s/roff_line(to, "", help)/roff_line(to, "", o->help)/
cli:the manual page | train/manual.c | s/\.TH TRAIN_GPT 1/.TL TRAIN_GPT 1/
cli:outside the PATH | Makefile | s/:$(CUDA_HOME).bin:/:/
cli:outside the PATH | Makefile | s/-Xlinker -rpath -Xlinker $(CUDA_LIBRARIES)/ /
cli:outside the PATH | Makefile | s/(info there is a GPU/(if there is a GPU/
cli:make install | Makefile | s/zsh\/%: PRINT = --completion zsh/zsh\/%: PRINT = --completion bash/
hash | base/hash.c | s/lane + input \* prime2, 31/lane + input * prime2, 30/
hash | base/hash.c | s/size >= STRIPE - held/size > STRIPE - held/
hash | base/hash.c | s/sum \^ load(from, 4)/sum + load(from, 4)/
text | base/text.c | s/code <= 0x202e/code < 0x202e/
text | base/text.c | s/whole + length < capacity/whole + length <= capacity/
text | base/error.c | s/text_show(e->text, sizeof e->text, sentence)/snprintf(e->text, sizeof e->text, "%s", sentence)/
json_file | files/json_file.c | s/memcmp(text + size - SEAL, seal, SEAL) == 0/size > SEAL/
json_file | files/json_file.c | s/ || is_hash(json_string(last))//
json_file | files/json_file.c | s/json_get(root, "checksum") || //
json_file | files/json_file.c | s/size = trim(object, size - 1)/size--/
options | train/options.h | s/OPTIONS_MOST = 256/OPTIONS_MOST = 160/
options | train/options.c | s/value = negated ? "off" : "on"/value = "on"/
options | train/options.c | s/strcmp(given, value) != 0/0/
averages | optim/optim.c | s/optim->steps_done < optim->averages.config.tail_from/0/
checkpoint | train/checkpoint.c | s/ \&\& next.val_step == next.step//
cli:a validation that fails | train/run.c | s/if (happened \&\& writes(r))/if (status == RUN_DONE \&\& happened \&\& writes(r))/
cli:refuses: a checkpoint of a newer | train/checkpoint.c | s/    return CANNOT_BE_JUDGED;/    return -1;/
cli:data: evaluation | train/run.c | s/if (o->resume \&\& check_data/if (0 \&\& check_data/
cli:samples are printed | base/text.c | s/bytes > 0 \&\& !is_control(code) ? bytes : 0/bytes/
optim | optim/optim.c | s/g->aux ? optim->aux_factor : optim->lr_factor/optim->lr_factor/
optim_groups | optim/groups.c | s/\&config->vector_hyper, "vector-"/\&config->embed_hyper, "vector-"/
schedule | train/schedule.c | s/pow(left \/ decay_steps, power)/left \/ decay_steps/
schedule | train/schedule.c | s/s->planned > 0 ? s->planned : s->steps/s->steps/
cli:presets | train/options.c | s/if (depth > PRESETS_DEEP)/if (depth > 1000)/
cli:presets | train/options.c | s/if (take_preset(o, preset, 0, e) != 0)/if (0)/
cli:presets | train/options.c | s/value\[strcspn(value, "#")\] = .\\0.;//
cli:presets: their data | train/options.c | s/if (has_data)/if (0)/
cli:presets: their data | train/options.c | s/strcmp(option->name, "train") == 0 ||/0 ||/
cli:presets: their data | train/options.c | s/o->train = NULL;$/;/
cli:presets: their data | train/options.c | s/if (o->val != NULL)$/if (0)/
cli:presets: their data | train/corpus.c | s/        if (!there)/        if (false)/
cli:presets: their data | presets/nano | s/^train .*//
cli:where presets look | presets/track3-base | s/^val .*//
cli:where presets look | data/get | s/"\$to" = "data.\$1" \] ||/"$to" = "" ] ||/
cli:where presets look | data/get | s/\$(dirname "\$0")/$(dirname "$PWD")/
cli:data/get finewep10B | data/get | s/best = 4/best = 0/
cli:data/get gpt2 --mirror | data/get | s/wrong() { stop 2/wrong() { stop 1/
cli:data/get fineweb10B 104 | data/get | s/"\$count" -le "\$most"/"$count" -ge 0/
cli:data/get gpt2 --base | data/get | s/^'' | http:/* | http:/
cli:data/get --list | data/get | s/^gpt2-xl.6/gpt3-xl|6/
cli:data/get --list | data/get | s/^Fetches a public/It fetches any public/
cli:data/get: shards come whole | data/get | s/x-linked-etag:/x-etag:/
cli:data/get: shards come whole | data/get | s/if \[ -e "\$path" \]; then keep/if false; then keep/
cli:data/get: shards come whole | data/get | s/^next=.*/next=/
cli:data/get: shards come whole | data/get | s/DATA_MIRROR:-/OTHER_MIRROR:-/
cli:data/get: train_gpt reads | data/get | s/^model.safetensors - -//
cli:data/get: a connection | data/get | s/-fL -C - -o/-fL -o/
cli:data/get: a connection | data/get | s/best=\$now failures=0/failures=$failures/
cli:data/get: a host without | data/get | s/curl:33:/curl:34:/
cli:data/get: a part of | data/get | s/for again in 1 ''/for again in ''/
cli:data/get: a part of | data/get | s/"\$old" -eq "\$bytes" \]/"$old" -eq -1 ]/
cli:data/get, a host: 404 | data/get | s/by hand to \$path/by hand/
cli:data/get, a host: 500 | data/get | s/refusal="\$host does not give \$file (HTTP \$code)"/refusal=busy/
cli:data/get, a host: forged | data/get | s/\[ "\$found" = "\$sum" \]/true/
cli:data/get, a host: long | data/get | s/\[ \$failures -lt 3 \]/[ $failures -lt 999 ]/
cli:data/get, a host: short | data/get | s/2 \* number(8) + 1024 != size/0/
cli:data/get, a shard: magic | data/get | s/number(0) != 20240520/0/
cli:data/get, a shard: version | data/get | s/number(4) != 1)/0)/
cli:data/get, a shard: no header | data/get | s/n < 12 ||/0 \&\&/
cli:data/get, a shard: too many | data/get | s/^        rm -f "\$path.part"$/        mv "$path.part" "$path"/
cli:data/get: a host that is busy | data/get | s/50\[0234\] |/599 |/
cli:data/get: a host that is busy | data/get | s/403 | 405 | 501)/599)/
cli:data/get: a wrong file | data/get | s/^    \[ -z "\$fault" \] || stop 1 "\$path: is wrong/    [ -z "$fault" ] || get; true "/
cli:data/get: a wrong file | data/get | s/\[ "\$size" -eq "\$bytes" \]/true/
cli:data/get: without a network | data/get | s/000) offline=/001) offline=/
cli:data/get: without a network | data/get | s/\$refusal" ] || unreachable/$refusal" ] || true/
cli:data/get: another text | data/get | s/1115394 86c4/20001 86c4/
cli:data/get, stopped by INT | data/get | s/kill "\$child" 2/true 2/
cli:data/get, stopped by TERM | data/get | s/^trap 'stopped 15' TERM//
cli:data/get, stopped by HUP | data/get | s/128 + \$1/129 + $1/
cli:data/get: curl's bar | data/get | s/--progress-bar/-s/
cli:data/get: wget | data/get | s/wget -c -O/wget -O/
cli:OpenBLAS has | train/main.c | s/if (core != NULL \&\& /if (core == NULL \&\& /
cli:data/get: wget | data/get | s/grep -o -e --no-http-keep-alive/true/
cli:data/get: wget | data/get | s/wget -S --spider/wget --spider/
cli:data/get: without the tools | data/get | s/^for hasher in sha256sum 'shasum -a 256'/for hasher in sha256sum/
cli:data/get: without the tools | data/get | s/^elif ! command -v wget/elif false \&\& ! command -v wget/
cli:--aux-cooldown | train/plan.c | s/aux->cooldown = o->aux_cooldown;//
cli:data shards, overwritten with other | train/corpus.c | s/same_text(a, b, "hash")/1/
cli:data shards, moved and named | train/corpus.c | s/!same_text(a, b, "name") ? b : moved/moved/
cli:data text, overwritten | train/run.c | s/status = corpus_compare(r->data, identity, &r->notes, e);/status = 0;/
checkpoint | train/checkpoint.c | s/strcmp(text, wanted) != 0/0/
cli:survives: a checkpoint of another | train/checkpoint.c | s/recorded != (uint64_t)step/0/
checkpoint | train/checkpoint.c | s/steps\[i\] != (long long)state->best_step/1/
checkpoint | train/checkpoint.c | s/!(next.val_loss >= next.best_loss)/next.val_loss < next.best_loss/
checkpoint | train/checkpoint.c | s/optim_steps_done(optim) != state->step/0/
cli:weights that are not finite | train/weights.c | s/!isfinite(l->scratch\[i\])/0/
cli:a target that was met | train/run.c | s/s->val_loss <= target/0/
cli:resuming with other --steps | train/run.c | s/schedule_factor(&before, r->state.step) == schedule_factor(now, r->state.step)/1/
cli:when position is | train/run.c | s/s->loader_position != s->tokens/0 != s->tokens % p->setup.T \&\& s->loader_position != s->tokens/
cli:data cut short in a run | train/run.c | s/if (r->saved || status == RUN_DIVERGED)/if (r->saved || status != RUN_DONE)/
cli:checkpoints by time | train/run.c | s/>= 60 \* o->checkpoint_minutes/>= 1e9/
cli:SIGTERM in phase start | train/run.c | s/stop_signal() != 0 ? HAS_SIGNAL : GOES_ON/GOES_ON/
cli:SIGTERM in phase validation | train/evaluate.c | s/if (stop_signal() != 0)/if (0)/
cli:SIGTERM in phase sample | train/sample.c | s/ \&\& stop_signal() == 0//
cli:SIGTERM at every call | train/evaluate.c | s/(isnan(s->val_loss) || s->val_step != s->step)/isnan(s->val_loss)/
cli:SIGHUP that is ignored | train/stop.c | s/before.sa_handler != SIG_IGN/1/
cli:SIGHUP in a sample | train/stop.c | s/{SIGHUP, false}, //
cli:progress fits 80 | train/progress.c | s/line_length(cells) >= columns/0/
cli:piped progress | train/progress.c | s/!p->terminal \&\& !stays/0/
cli:survives: an empty log | train/run.c | s/if (kept < expected \&\& expected > 0)/if (0)/
cli:survives: a log of zeros | train/metrics.c | s/line\[0\] == .\\0. ||//
cli:says what to do | train/plan.c | s/is_preset \&\& !prefixed/0/
cli:says what to do | train/options.c | s/floor(real) == real/0/
cli:says what to do | optim/hyper.c | s/strpbrk(text, "xX") == NULL/1/
cli:the built-in stories validate | train/run.c | s/    drop_foreign_stories(r, state);//
cli:runs begun in the same second | train/run.c | s/errno != EEXIST || p->options.out != NULL/1/
cli:names that are no UTF-8 | train/options.c | s/if (text_is_utf8(value))/if (1)/
options | train/options.c | s/option == NULL || negated || option->kind == FLAG/option == NULL/
cli:a validation set without | train/corpus.c | s/tokens_targets(corpus->val) == 0/0/
cli:--version | train/main.c | s/TRAIN_GPT_VERSION, train_gpt_source/TRAIN_GPT_VERSION, "stub"/
cli:threads wait | base/environment.c | s/SPIN_TIME "1000"/SPIN_TIME "300"/
cli:threads wait | base/environment.c | s/if (!spins \&\&/if (threads == NULL \&\&/
cli:little memory | base/environment.c | s/"OPENBLAS_NUM_THREADS=1"/"OPENBLAS_NUM_THREADS=2"/
cgroup | base/cgroup.c | s/cpus < c->cpus/cpus > c->cpus/
cgroup | base/cgroup.c | s/outside ? "" : path/path/
cgroup | base/cgroup.c | s/if (slash == NULL)/if (slash != NULL)/
cgroup | base/cgroup.c | s/p\[length\] == ',' || p\[length\] == '.0'/true/
cgroup | base/cgroup.c | s/\*p < '0'/*p < '-'/
cli:OMP_NUM_THREADS is honoured | base/threads.c | s/chosen = n < THREADS_MOST ? n : THREADS_MOST/chosen = n/
cli:as many threads as CPUs | base/threads.c | s/omp_get_num_procs()/sysconf(_SC_NPROCESSORS_ONLN)/
cli:refuses SLURM | comm/launch.c | s/number(others.i..world) > number(found->world)/false/
cli:refuses SLURM | comm/launch.c | s/if (is_set("TORCHELASTIC_RUN_ID"))/if (false)/
cli:refuses SLURM | comm/launch.c | s/if (is_set(mpirun.world))/if (false)/
cli:though it is late | comm/launch.c | s/.tv_sec = 2/.tv_sec = 0/
cli:alone with | comm/launch.c | s/number(launcher->world) < 2 || //
cli:another MPI's mpiexec | comm/mpi.c | s/(size_t)world != launch->ranks.world/false/
cli:built for another CPU | train/launch.c | s/!__builtin_cpu_supports(feature)/false/
cli:found by the PATH | train/launch.c | s/if (access(self, X_OK) == 0)/if (access(self, X_OK) != 0)/
cli:GPU program | train/launch.c | s/if (WIFSIGNALED(status))/if (false)/
cli:GPU program | train/launch.c | s/status %d", WEXITSTATUS(status))/status %d", 0)/
cli:GPU program | train/launch.c | s/said + strspn(said, "[^"]*")/said/
cli:GPU program | train/launch.c | s/strerror(errno));$/"");/
cli:GPU program | train/launch.c | s/dup2(ends.1., STDERR_FILENO)/dup2(ends[1], STDOUT_FILENO)/
cli:scaling.py | dev/scaling/step.py | s/newton_schulz_flops(.m), i/newton_schulz_flops(*m), 0/
cli:scaling.py | dev/scaling/step.py | s/outside . machine.in_box . machine.nic/outside \/ machine.nic/
cli:scaling.py | dev/scaling/step.py | s/ready = max(ready, .*)) + seconds/ready += seconds/
loader | data/loader.c | s/l->config.rank \* p->part/0/
cli:ranks: of those by --ranks | comm/comm.c | s/^    launch_end(!comm->lost);$//
cli:ranks: --ranks starts them | train/options.c | s/value == NULL || is_of_command(&table.i.)/value == NULL/
cli:ranks: the same bits, --optimizer muon | train/gradients.c | s/if (!last || g->phase_count == 0)/if (true)/
cli:ranks: the same bits, --optimizer muon | train/gradients.c | s/block >> level & 1; level++)$/block >> level \& 1 \&\& level < 1; level++)/
cli:ranks: the same bits, --optimizer muon | train/gradients.c | s/    comm_sum(g->comm, .loss, 1);//
cli:ranks: the same bits, --dropout | train/run.c | s/(first + i) \* B}/i * B}/
cli:ranks: the same bits, --optimizer nesterov | optim/optim.c | s/    comm_sum(optim->comm, optim->squares, n);//
cli:ranks: the same bits, --optimizer nesterov | optim/optim.c | /^void optim_begin/,/^}/s/if (looks_ahead(optim))/if (false)/
cli:ranks: the same bits, --optimizer soap | optim/averages.c | s/^    optim_wrote(optim);$//
cli:ranks: the same bits, --optimizer dion | optim/rules/dion.c | s/slot->number/i/
cli:ranks: the same bits, --optimizer adamw | optim/optim.c | /^void optim_state_read/,/^}/s/comm_collect.*//
cli:ranks: the same bits, --optimizer adamw | train/evaluate.c | s/i += r->plan->ranks.world/i++/
cli:ranks: the same bits, --eval | train/tasks.c | s/all->targets + k \* n, n, T/all->targets, n, T/
cli:ranks: the same bits, --eval | train/tasks.c | s/comm_sum(comm, sums, c->row_count);/;/
cli:ranks: refuses | train/plan.c | s/if (batches % p->ranks.world == 0)/if (true)/
cli:ranks: other options | train/run.c | s/if (!same_line(a, b))/if (false)/
cli:ranks: a signal to one | train/run.c | s/return last || status != GOES_ON ? comm_agree(r->comm, status, e) : GOES_ON;/return status;/
cli:ranks: 3 round | train/record.c | s/world <= p->options.same_bits \&\& !p/true \&\& !p/
emulated-ranks | comm/comm.c | s/ send(comm, p->rank, arena/ send(comm, (p->rank + 1) % r.world, arena/
emulated-products | base/cuda/lt.cuh | s/CUBLASLT_EPILOGUE_BGRADB/CUBLASLT_EPILOGUE_BGRADA/
emulated-products | dev/cuda_on_cpu/include/cublasLt.h | s/product.k = static_cast<size_t>(p.k);/product.k = static_cast<size_t>(p.k) \/ 512 * 512;/
emulated-products | dev/cuda_on_cpu/include/cublasLt.h | s/product.k = static_cast<size_t>(p.k);/product.k = static_cast<size_t>(p.k > 8192 ? p.k - 8 : p.k);/
emulated-products | dev/cuda_on_cpu/include/cublas_v2.h | s/p.k = static_cast<size_t>(k);/p.k = static_cast<size_t>(k > 1000 ? k - 1 : k);/
emulated-products | base/cuda/lt.cuh | s/LtPlan \&plan = place->second;/\& if (beta == 0) beta = 1;/
emulated-products | base/cuda/lt.cuh | s/(uintptr_t)aux | 16;/(uintptr_t)aux | 256;/
emulated-products | base/cuda/lt.cuh | s/lt_choose(lt, s, 1, preference, .plan) || //
emulated-large | dev/cuda_on_cpu/include/cublasLt.h | s/product.k = static_cast<size_t>(p.k);/product.k = static_cast<size_t>(p.a.type == CUDA_R_16BF \&\& p.k == 80 ? 79 : p.k);/
emulated-checks | base/cuda.cuh | s/status == CUBLAS_STATUS_ALLOC_FAILED ||/false ||/
emulated-checks | base/cuda.cuh | s/available < handle/true/
emulated-checks | base/cuda.cuh | s/    if (status == cudaErrorMemoryAllocation)/    if (false)/
emulated-checks | base/cuda/lt.cuh | s/if (!plan.found)/if (false)/
emulated-checks | optim/verbs/cusolver_check.cuh | s/status == CUSOLVER_STATUS_ALLOC_FAILED ||/false ||/
cli:test-gpu | dev/tests/gpu.sh | s/    failed=1$/    :/
cli:test-gpu | dev/tests/gpu.sh | s/    \*) there=yes ;;/    *) ;;/
cli:test-gpu | dev/tests/gpu.sh | s/^command -v timeout.*//
cli:test-gpu | dev/tests/gpu.sh | s/^'' | -\* | N\*) ;;/-* | N*) ;;/
cli:test-gpu | dev/tests/gpu.sh | s,if \[ -e /dev/nvidiactl \],if false,
cli:test-gpu | dev/tests/gpu.sh | s/|| kill .child;/||/
emulated-products | optim/verbs/verbs_cuda.cu | s/const size_t k = transpose_a ? a.rows : a.cols;/const size_t k = a.cols;/
emulated-ranks | comm/arena_cuda.cu | s/ncclSend(x, n,/ncclSend(x, n - 1,/
emulated-ranks | comm/arena_cuda.cu | s/    CUDA_CHECK(cudaStreamWaitEvent(d->stream, d->begun, 0));//
emulated-ranks | comm/arena_cuda.cu | s/if (computed == cudaSuccess .. done == cudaSuccess)/if (true)/
emulated-ranks | comm/arena_cuda.cu | s/const auto part = \[=\](unsigned r) {/const auto part = [=](unsigned q) { const unsigned r = (q + rank) % world;/
emulated-ranks | comm/arena_cuda.cu | s/dim3(256), 0, d->stream, arena/dim3(256), 0, (cudaStream_t)stream, arena/
emulated-ranks | optim/optim.c | s/p->n, 1}, NULL, 1, 0,/p->n, 1}, NULL, 2, 0,/
emulated-ranks | train/run.c | s/^    optim_gather(r->optim);$//
emulated-cli:GPU: --probe | train_gpt.cu | s/if (image == cudaErrorNoKernelImageForDevice)/if (false)/
cli:nothing is said | train/launch.c | s/!gpu .. .why != '.0'/!gpu/
cli:a GPU | train/launch.c | s,&& !has_gpu()),),
cli:a GPU | train/launch.c | s,status) == RUN_NO_DEVICE,status) == 5,
comm:comm_start | comm/launch.c | s/return first != 0 \&\& getppid() != first;/return false;/
comm:comm_start | comm/launch.c | s/ \&\& info.si_pid != 0)/ \&\& false)/
comm:few bytes | comm/comm.c | s/comm_begin_receive(comm, i, (char \*)all + i \* size/comm_begin_receive(comm, i, (char *)all + (r.world - 1 - i) * size/
comm:few bytes | comm/comm.c | s/all\[r \* n + i\] += all\[(r + stride) \* n + i\]/all[(r + comm->ranks.rank) % world * n + i] += all[(r + stride + comm->ranks.rank) % world * n + i]/;s/memcpy(x, all, n/memcpy(x, all + comm->ranks.rank * n, n/
comm:few bytes | comm/comm.c | s/size_t i = 1; i < r.world \&\& r.rank == 0;/size_t i = 0; i < r.world \&\& r.rank == 1;/;s/   comm_begin_send(comm, i, x, size)/   if (i != 1) &/;s/if (r.rank > 0)/if (r.rank != 1)/;s/comm_begin_receive(comm, 0, x/comm_begin_receive(comm, 1, x/
comm:few bytes | comm/comm.c | /all\[i\].status == 0/s/world/world - 1/;/else if (i </s/world/world - 1/
comm:few bytes | comm/comm.c | s/if (i > 0)$/if (i > 1)/
comm:few bytes | comm/comm.c | s/most = all\[i\] > most/most = i > 0 \&\& all[i] > most/
comm:pieces | comm/comm.c | s/ send(comm, p->rank, arena/ send(comm, (p->rank + 1) % r.world, arena/
comm:pieces | comm/arena_cpu.c | s/x, n \* sizeof \*x/x, (n - (n > 1)) * sizeof *x/
comm:pieces | comm/arena_cpu.c | s/part_of(p, r)/part_of(p, (r + p->ranks.rank) % p->ranks.world)/;s/part_of(p, r + stride)/part_of(p, (r + stride + p->ranks.rank) % p->ranks.world)/;s/ \&\& p->ranks.rank != 0; i/ \&\& 0; i/
comm:pieces | comm/comm.c | s/share) + at, p->n/share), p->n/
comm:pieces | comm/arena_cpu.c | s/r->scratch + at, share/r->scratch, share/
comm:pieces | comm/arena_cpu.c | /comm == NULL/,/comm_finish/s/comm_finish(comm);/comm_progress(comm);/
comm:pieces | comm/comm.c | s/return (rank - (rank > ranks.rank)) \* share/return 0 * (rank + ranks.rank) * share/
comm:pieces | comm/comm.c | s/return (r.world - 1) \* comm_share/return r.world * comm_share/
comm:pieces | comm/comm.c | s/comm->cost.sent += bytes/comm->cost.sent += 1/
comm:pieces | comm/comm.c | s/comm_begin_receive(comm, p->rank, host + p->first/comm_begin_receive(comm, p->rank, host/
comm:order | comm/tcp.c | s/while (q->first < q->count)/if (q->first < q->count)/;s/= &q->messages\[q->first\]/= \&q->messages[q->count - 1]/
comm:silent | comm/comm.c | s/return now - watch->moved > comm->timeout/return false/
comm:silent | comm/comm.c | s/        comm->timeout = seconds/        comm->timeout = 300 + 0 * seconds/
comm:slow | comm/comm.c | s/if (status == PROGRESS_MOVED)/if (false)/
comm:rank that | comm/tcp.c | s/\*peer = i;$/*peer = 0;/
comm:strangers | comm/tcp.c | s/hello->rank > rank \&\&/true \&\&/
comm:strangers | comm/tcp.c | s/hello->world == s->world \&\&/true \&\&/
comm:strangers | comm/tcp.c | s/const double soon = clock_seconds() + 5/const double soon = clock_seconds() + 500/
comm:is taken | comm/tcp.c | s/memcmp(said, magic, sizeof magic) == 0/true/
comm:makes no sense | comm/launch.c | s/r->rank >= r->world/r->rank > r->world/
comm:makes no sense | comm/tcp.c | s/number > 65534/number > 65535/
shares:pieces and | optim/shares.c | s/(CommPiece){at, u->n, u->rank}/(CommPiece){at, u->n, (u->rank + 1) % optim->ranks.world}/
shares:pieces and | optim/shares.c | s/(2 \* before + u->n) \* optim->ranks.world/(3 * before + u->n) * optim->ranks.world/
checkpoint:a rank is lost | train/checkpoint.c | s/return comm_lost(optim_comm(optim), e) ? -1 : status;/return status;/
shares:pieces and | optim/shares.c | s/STRETCH_MOST = 1 << 16/STRETCH_MOST = 1 << 19/
shares:pieces and | optim/optim.c | s/u->rank == optim->ranks.rank ? piece.n : 0/piece.n/
shares:GPT-2 | optim/shares.c | s/load\[least\] += cost_of(matrices\[i\])/load[least] += 0/
shares:blocks | train/gradients.c | s/while (2 \* most \* world <= same_bits)/while (2 * most * world < same_bits)/
shares:blocks | train/gradients.c | s/power_in(batches) < most ? power_in(batches) : most/most/
experiments:Student | dev/experiments/inference.py | s/a\[s\] - b\[s\]/a[s] + b[s]/
experiments:Student | dev/experiments/inference.py | s/values.std(ddof=1)/values.std()/
experiments:Holm | dev/experiments/inference.py | s/least = max(least, min(1.0, \(.*\)))$/least = min(1.0, \1)/
experiments:intervals | dev/experiments/inference.py | s/numpy.sqrt(n \/ (n - 1)) \* stats.t/stats.norm/;s/ppf((1 + LEVEL) \/ 2, n - 1))$/ppf((1 + LEVEL) \/ 2))/
experiments:laws | dev/experiments/inference.py | s/E = numpy.maximum(E, 0)/E = E/;s/A = numpy.where(E < 0, .*/pass/
experiments:laws | dev/experiments/inference.py | s/unit \* (numpy.maximum/(numpy.maximum/
experiments:track 3 | dev/experiments/inference.py | s/0.0045 \/ 100/0.045 \/ 100/
experiments:crossings | dev/experiments/inference.py | s/share \* (at\[i\] - at\[i - 1\])/share/
experiments:studies | dev/studies/width/plot.py | s/x\[1\] - b \/ (2/x[1] + b \/ (2/
experiments:studies | dev/studies/batch/plot.py | s/known\[rate\] \* batch/known[rate]/
experiments:studies | dev/studies/rare/plot.py | s/run\["stage"\] != "final"/False/
experiments:descent | dev/experiments/search.py | s/if self.best\[knob.name\] == here:/if True:/
experiments:descent | dev/experiments/search.py | s/room = self.budget - len(self.losses)/room = self.budget/
experiments:descent | dev/experiments/space.py | s/last, before = 1 - last, 1 - before/pass/
experiments:grid | dev/experiments/search.py | s/yield from self.widen()/return/
experiments:random | dev/experiments/search.py | s/grown = (high - low) \/ 4/grown = 0/
experiments:A/A | dev/experiments/inference.py | s/numpy.sqrt(n))$/n)/;s/stats.ttest_1samp(values, 0)/stats.ttest_1samp(numpy.repeat(values, 3), 0)/
experiments:kill | dev/experiments/pool.py | s/pass_fds=\[self.lock\], *$/pass_fds=[],/;s/pass_fds=\[self.lock\],$/pass_fds=[],/;s/if job.directory.exists() and not resume/if False/
experiments:kill | dev/experiments/sweep.py | s/before.run != space.run/False/
experiments:kill | dev/experiments/figures.py | s/rf"\\g<1>{name}-"/r"\\g<1>"/
experiments:halving | dev/experiments/sweep.py | s/if self.rung < len(steps) - 1/if self.rung < len(steps) - 2/
experiments:stopped | dev/experiments/pool.py | s/loss > initial + RISE/loss > initial + 1e30/
experiments:made good | dev/experiments/pool.py | s/ or not rows or not rows\[-1\]\["val_loss"\]//
experiments:refused | dev/experiments/runs.py | s/if a != b:/if False:/
experiments:refused | dev/experiments/runs.py | s/if last < run.steps:/if False:/
TABLE

grep -F -e "$pattern" table | sed 's/ *|.*//' | sort -u > tests
while IFS= read -r test; do
    if ! check "$test"; then
        echo "FAIL  $test is red without any fault: $(tail -n 1 test.log)"
        failed=$((failed + 1))
    fi
done < tests
[ $failed -eq 0 ] || { echo "$passed passed, $failed failed"; exit 1; }
echo "every test is green without a fault"

while IFS= read -r row <&3; do
    case $row in *"$pattern"*) ;; *) continue ;; esac
    test=${row%%" | "*}
    rest=${row#*" | "}
    if noticed "$test" "${rest%%" | "*}" "${rest#*" | "}"; then
        passed=$((passed + 1))
        printf 'ok    %s\n' "$row"
    else
        failed=$((failed + 1))
        printf 'FAIL  %s: %s\n' "$row" "$why"
    fi
done 3< table
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
