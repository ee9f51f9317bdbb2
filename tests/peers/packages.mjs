// Lets the scripts beside this one import the packages in $HEADWATER_PEERS by name. Used by `node --import`.
import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

const here = new URL('.', import.meta.url).href
const packages = pathToFileURL(`${process.env.HEADWATER_PEERS}/../any.mjs`).href

registerHooks({
  resolve(specifier, context, next) {
    const isPackage = !/^(node:|file:|\.|\/)/.test(specifier)
    const isOurs = context.parentURL?.startsWith(here)
    return next(specifier, isPackage && isOurs ? { ...context, parentURL: packages } : context)
  },
})
